//! Names that come as text: services, units, mints, agents, commands, selectors, words, topics, invitations.
#![no_main]
use std::fmt::Display;

use guilder_protocol::{
    discovery,
    identity::AgentId,
    invitation::Invitation,
    market::{MintUrl, ServiceName, Unit},
    ucan::{Command, Selector},
    word::Word,
};

/// What parses is written so that it parses to the same.
fn holds<T: std::str::FromStr + Display + PartialEq>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        assert!(name.to_string().parse::<T>().is_ok_and(|again| again == name));
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = discovery::is_service_key(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    holds::<ServiceName>(text);
    holds::<Unit>(text);
    holds::<MintUrl>(text);
    holds::<AgentId>(text);
    holds::<Word>(text);
    holds::<Invitation>(text);
    if let Ok(url) = MintUrl::try_from(text.to_owned()) {
        assert!(url.as_str().len() <= text.len());
        let _ = url.peer();
    }
    if let Ok(id) = AgentId::from_peer_id(text) {
        assert_eq!(id.peer_id(), text);
    }
    if let Some(service) = discovery::service_of(text) {
        assert_eq!(discovery::topic(&service), text);
    }
    let _ = (Command::parse(text), Selector::parse(text));
});
