//! The page: a template in which every figure is a place to be filled.
//!
//! | place | what stands there |
//! | --- | --- |
//! | `{{machine}}`, `{{targets}}`, `{{goals}}`, `{{ranges}}`, `{{memory}}`, `{{durable}}`, `{{large}}`, `{{bad}}` | a table |
//! | `{{calls}}`, `{{functions}}` | where the broker's time goes |
//! | `{{growth NAME}}` | a plot and its table |
//! | `{{faults}}`, `{{floor}}`, `{{scale}}` | what went wrong; whether the floor is one; a warning, if the figures are of a quick run |
//! | `{{cpu LOAD TARGET}}`, `{{rate LOAD TARGET}}`, `{{p99 LOAD TARGET}}`, `{{rss LOAD TARGET}}` | the middle of a figure |
//! | `{{fact LOAD TARGET NAME}}` | the same of a further figure |
//! | `{{ratio LOAD TARGET LOAD TARGET}}` | how many times the CPU of the second the first takes |
//! | `{{paper NAME}}` | what follows for larger machines |

use super::catalogue::Scale;
use super::figures::{Figures, Spread, short};
use super::target::Target;
use super::{goal, paper, table};
use crate::outcome::{Checked, Stop};

/// Fills every place.
///
/// # Errors
/// A place asks for what there is not, or has no end.
pub fn fill(template: &str, figures: &Figures) -> Checked<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (place, after) = after.split_once("}}").ok_or_else(|| Stop::failed("template: a `{{` has no `}}`"))?;
        out.push_str(before);
        out.push_str(&filled(place, figures).ok_or_else(|| Stop::failed(format!("template: there is no `{{{{{place}}}}}`")))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `None` where there is no such figure; a dash where it was not measured.
fn filled(place: &str, figures: &Figures) -> Option<String> {
    let words: Vec<&str> = place.split_whitespace().collect();
    let middle = |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), |spread| short(spread.median));
    Some(match *words.as_slice() {
        ["machine"] => table::machine(figures),
        ["targets"] => table::targets(),
        ["goals"] => table::goals(figures),
        ["ranges"] => table::ranges(figures),
        ["memory"] => table::memory(figures),
        ["durable"] => table::durable(figures),
        ["large"] => table::large(figures),
        ["bad"] => table::bad(figures),
        ["calls"] => table::calls(figures),
        ["functions"] => table::functions(figures),
        ["faults"] => table::faults(figures),
        ["floor"] => goal::floor(figures),
        ["scale"] if figures.scale == Scale::Full => String::new(),
        ["scale"] => "> **These figures are of a quick run, which only shows that everything works. They mean nothing.**\n".to_owned(),
        ["growth", name] => table::growth(name, figures)?,
        ["paper", name] => paper::sum(name, figures)?,
        ["cpu", load, target] => middle(figures.cpu(load, Target::of_key(target)?)),
        ["rate", load, target] => middle(figures.per_second(load, Target::of_key(target)?)),
        ["p99", load, target] => middle(figures.p99(load, Target::of_key(target)?)),
        ["rss", load, target] => figures.rss_mib(load, Target::of_key(target)?).map_or_else(|| "–".to_owned(), short),
        ["fact", load, target, name] => middle(figures.fact(load, Target::of_key(target)?, name)),
        ["ratio", load, target, base, other] => {
            let of = |load, target| Some(figures.cpu(load, target)?.median);
            let (own, base) = (of(load, Target::of_key(target)?), of(base, Target::of_key(other)?));
            own.zip(base).map_or_else(|| "–".to_owned(), |(own, base)| short(own / base))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::performance::figures::{Row, Run};
    use crate::performance::machine::Machine;
    use std::collections::BTreeMap;

    fn figures() -> Figures {
        let row = |cpu_us: f64| Row { runs: vec![Run { cpu_us: Some(cpu_us), ..Run::default() }], ..Row::default() };
        let rows = [("floor".to_owned(), row(0.2)), ("candor".to_owned(), row(0.5))];
        let loads = [("qos0".to_owned(), rows.into())].into();
        Figures { scale: Scale::Full, machine: Machine::default(), loads, profiles: BTreeMap::new() }
    }

    #[test]
    fn places_are_filled_and_what_was_not_measured_is_a_dash() {
        let page = fill("{{cpu qos0 candor}} µs, {{ratio qos0 candor qos0 floor}} ×, {{cpu qos1 candor}}{{scale}}.", &figures());
        assert_eq!(page.unwrap(), "0.50 µs, 2.50 ×, –.");
        assert!(fill("{{scale}}", &Figures { scale: Scale::Quick, ..figures() }).unwrap().contains("mean nothing"));
    }

    #[test]
    fn a_place_that_nothing_can_fill_is_an_error_that_names_it() {
        for place in ["{{cpu qos0 candour}}", "{{growth weight}}", "{{paper moon}}", "{{cpu qos0}}", "{{}}"] {
            let Err(Stop::Failed(why)) = fill(place, &figures()) else { panic!("{place} was filled") };
            assert!(why.contains(place), "{why}");
        }
        assert!(fill("{{machine", &figures()).is_err());
    }
}
