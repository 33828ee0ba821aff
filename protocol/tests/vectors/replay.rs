//! Every case: read, compared with its view, written back.

use crate::case::{Case, Refused, cases};
use crate::view;
use candor_protocol::codec::frame::Frame;
use candor_protocol::packet::Packet;
use candor_protocol::packet::legality::check_keys;

/// Runs `check` on every case and shows all that fail, not the first alone.
pub(crate) fn for_every_case(check: impl Fn(&Case) -> Result<(), String>) {
    let cases = cases();
    let failures: Vec<String> = cases.iter().filter_map(|(title, case)| Some(format!("{title}\n    {}", check(case).err()?))).collect();
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_case_decodes_to_its_packet_or_fails_with_its_cause() {
    for_every_case(|case| match (case.read(), &case.packet, &case.must_fail) {
        (Ok(packet), Some(expected), None) => {
            let (seen, expected) = (view::packet(&packet), view::expected(expected));
            if seen == expected { Ok(()) } else { Err(format!("read      {seen}\n    expected  {expected}")) }
        }
        (Err(failure), None, Some(expected)) if failure.name() == *expected => Ok(()),
        (read, _, expected) => Err(format!("expected {expected:?}, read {read:?}")),
    });
}

#[test]
fn every_packet_is_written_back_in_its_canonical_bytes() {
    for_every_case(|case| {
        let Ok(packet) = case.read() else { return Ok(()) };
        let expected = case.canonical.as_ref().unwrap_or(&case.hex).bytes();
        let written = case.write(&packet).ok_or("the dialect does not write it")?;
        if written != expected {
            return Err(format!("written   {}\n    expected  {}", view::hex(&written), view::hex(&expected)));
        }
        let again = case.read_frame(&whole(&written));
        if again == Ok(packet) { Ok(()) } else { Err(format!("written and read again it is {again:?}")) }
    });
}

fn whole(bytes: &[u8]) -> Frame {
    Frame::split(&mut bytes.to_vec().into(), u32::MAX).unwrap().unwrap()
}

#[test]
fn every_packet_has_keys_that_are_allowed_or_is_refused_by_name() {
    for_every_case(|case| {
        let Ok(packet) = case.read() else { return Ok(()) };
        let refused = keys_refused(case, &packet);
        if refused == case.refused { Ok(()) } else { Err(format!("expected {:?}, its keys are {refused:?}", case.refused)) }
    });
}

fn keys_refused(case: &Case, packet: &Packet) -> Option<Refused> {
    let refusal = check_keys(packet.kind(), case.sender, packet.dictionary(), &|_| None).err()?;
    Some(Refused { reason: format!("0x{:02X}", refusal.reason.0), field: refusal.problem.field.clone().unwrap_or_default() })
}

#[test]
fn a_case_is_named_once_and_says_one_thing() {
    let cases = cases();
    let mut titles: Vec<_> = cases.iter().map(|(title, _)| title).collect();
    titles.sort_unstable();
    assert!(titles.windows(2).all(|pair| pair[0] != pair[1]), "two cases have one name");
    for (title, case) in &cases {
        assert!(case.packet.is_some() != case.must_fail.is_some(), "{title}: either packet or must_fail");
        let of_a_packet = [case.may_fail.is_some(), case.canonical.is_some(), case.refused.is_some(), !case.early_ends.is_empty()];
        assert!(case.packet.is_some() || of_a_packet == [false; 4], "{title}: a part that only a packet has");
        assert_ne!(case.canonical.as_ref().map(|hex| hex.bytes()), Some(case.hex.bytes()), "{title}: canonical says nothing new");
    }
}
