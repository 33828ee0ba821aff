use candor_client::explain::*;
#[test]
fn show() {
    let hex = std::env::var("HEX").unwrap();
    let options = ExplainOptions {
        output: if std::env::var("JSON").is_ok() {
            Output::Json
        } else {
            Output::Text {
                width: std::env::var("W").map_or(100, |w| w.parse().unwrap()),
                color: std::env::var("COLOR").is_ok(),
                brief: false,
            }
        },
        dialect: std::env::var("D").map_or(DialectChoice::Auto, |d| d.parse().unwrap()),
        ..Default::default()
    };
    let end = run(&options, hex.as_bytes(), &mut std::io::stdout().lock()).unwrap();
    println!("{end:?}");
}
