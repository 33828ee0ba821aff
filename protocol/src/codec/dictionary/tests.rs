use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn checked(text: &str) -> Result<(), BadDictionary> {
    check(&hex(text), Limits { len_max: 64, depth_max: 3 })
}

#[test]
fn the_deterministic_form_is_demanded() {
    use BadDictionary::*;
    assert_eq!(checked(""), Ok(()));
    assert_eq!(checked("a1 00 00"), Ok(()));
    assert_eq!(checked("a2 18 18 00 61 61 f6"), Ok(()));
    assert_eq!(checked("a1 20 f9 3c 00"), Ok(()));
    for (bytes, error) in [
        ("a0", EmptyMap),
        ("80", NotAMap),
        ("01", NotAMap),
        ("a1", Truncated),
        ("a1 00", Truncated),
        ("a1 00 42 00", Truncated),
        ("a1 00 00 00", TrailingBytes),
        ("a1 18 17 00", NotShortest),
        ("a1 00 18 00", NotShortest),
        ("a1 00 58 01 00", NotShortest),
        ("b8 01 00 00", NotShortest),
        ("a1 00 fb 3ff0000000000000", NotShortest),
        ("a1 00 fa 3f800000", NotShortest),
        ("a1 00 f9 7e 01", NotShortest),
        ("a1 00 c0 00", Tag),
        ("a1 00 f7", BadSimple),
        ("a1 00 f8 20", BadSimple),
        ("a1 00 1c", BadSimple),
        ("a1 00 5f ff", IndefiniteLength),
        ("bf ff", IndefiniteLength),
        ("a1 40 00", BadKey),
        ("a1 f5 00", BadKey),
        ("a1 80 00", BadKey),
        ("a1 a1 00 00 00", BadKey),
        ("a1 c0 00 00", Tag),
        ("a1 58 01 00 00", NotShortest),
        ("a1 1b ffffffffffffffff 00", BadKey),
        ("a2 00 00 00 00", DuplicateKey),
        ("a2 01 00 00 00", KeysNotAscending),
        ("a2 20 00 00 00", KeysNotAscending),
        ("a1 00 61 ff", NotUtf8),
        ("a1 00 81 81 80", TooDeep),
        ("a1 00 9b ffffffffffffffff", Truncated),
    ] {
        assert_eq!(checked(bytes), Err(error), "{bytes}");
    }
    assert_eq!(
        check(&[0xA1, 0x00, 0x58, 70].iter().copied().chain([0; 70]).collect::<Vec<_>>(), Limits { len_max: 64, depth_max: 3 }),
        Err(TooLong)
    );
}

#[test]
fn a_map_is_built_in_order_whatever_the_order_of_the_calls() {
    let mut map = MapBuilder::new();
    map.put_text("b", |out| write_bool(out, true)).put(-1, |out| write_head(out, 0, 7)).put(300, |out| write_text(out, "x"));
    map.put(2, |out| write_bytes(out, &[1, 2])).put_text("aa", |out| write_float(out, 0.1));
    let dictionary = map.finish();
    assert_eq!(check(dictionary.as_bytes(), Limits::default()), Ok(()));
    assert_eq!(format!("{dictionary:?}"), "{2: h'0102', 300: \"x\", -1: 7, \"b\": true, \"aa\": 0.1}");
    assert_eq!(dictionary.get(300), Some(Item::Text("x")));
    assert_eq!(dictionary.get_text("b"), Some(Item::Bool(true)));
    assert_eq!(MapBuilder::new().merge(&dictionary).finish(), dictionary);
}

#[test]
fn the_critical_bit_is_the_low_bit_of_the_argument() {
    let critical = |n| KeyRef::Number(n).is_critical();
    assert_eq!((critical(0), critical(1), critical(7), critical(-1), critical(-2), critical(-3)), (false, true, true, false, true, false));
    assert!(!KeyRef::Text("a").is_critical());
}

#[test]
fn floats_have_one_form() {
    for value in [
        0.0,
        -0.0,
        1.0,
        0.1,
        65_504.0,
        65_505.0,
        1e300,
        5.960_464_477_539_063e-8,
        2f64.powi(-14),
        2f64.powi(-149),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ] {
        let mut map = MapBuilder::new();
        map.put(0, |out| write_float(out, value));
        let dictionary = map.finish();
        assert_eq!(check(dictionary.as_bytes(), Limits::default()), Ok(()), "{value}");
        let Some(Item::Float(back)) = dictionary.get(0) else { panic!("{dictionary:?}") };
        assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan(), "{value} came back as {back}");
    }
}
