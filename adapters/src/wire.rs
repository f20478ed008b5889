//! The `MessagePack` form of an event on a bus: versioned, bounded, and one byte string for each event.
//!
//! An event is one `MessagePack` array of seven elements, each in its shortest encoding:
//!
//! | # | element | type | bounds |
//! |---|---|---|---|
//! | 0 | version | positive fixint | 1, or 2 for ten elements |
//! | 1 | event type | str | 1 to `name_bytes_max` bytes |
//! | 2 | channel | str | 1 to `name_bytes_max` bytes |
//! | 3 | data: the document's JSON text | bin | at most `event_bytes_max` bytes |
//! | 4 | tenant | str or nil | 1 to `name_bytes_max` bytes |
//! | 5 | user | str or nil | 1 to `name_bytes_max` bytes |
//! | 6 | id of the event, the same on every node | str | 1 to `name_bytes_max` bytes |
//! | 7 | before: the JSON text of the document before the change | bin or nil | at most `event_bytes_max` bytes |
//! | 8 | service in a federation | str or nil | 1 to `name_bytes_max` bytes |
//! | 9 | id in that service | str or nil | 1 to `name_bytes_max` bytes |
//!
//! An event that has one of the last three is of version 2; all others are of version 1 and end before them, so that
//! nodes which know no other version read them, too.
//!
//! So the second byte is the version, in this and every later form, and a reader tells a newer form before it reads
//! on. Bytes from a bus are hostile until decoded: their size is checked first, nothing is allocated by a length
//! that they claim, and only the bytes that [`encode`] writes are an event, so nothing can trail or hide in another
//! encoding. Whether the data is JSON is for the engine to say, which reads it anyway.
//!
//! Why not a map with named fields: the names would be a third of a small event, and keys can be duplicated.

use std::fmt;

use coulis::{
    error::LimitExceeded,
    event::{Event, EventError, Federation},
    id::Identity,
    limits::Limits,
};
use serde::{Deserialize, Serialize, Serializer};

/// The newest version that this module reads and writes.
pub const VERSION: u8 = 2;
/// The version of events without a `before` and a federation.
const SHORT: u8 = 1;

/// Bytes of an event's encoding beside its fields: the array, the version, and five bytes before each field.
const FRAMING_BYTES_MAX: usize = 48;

/// An event as it crosses a bus, borrowed from its encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireEvent<'a> {
    /// The event's type.
    pub event_type: &'a str,
    /// The channel's name.
    pub channel: &'a str,
    /// The document's JSON text.
    pub data: &'a [u8],
    /// The tenant the event belongs to.
    pub tenant: Option<&'a str>,
    /// The user the event belongs to.
    pub user: Option<&'a str>,
    /// The event's id, by which a node knows an event that it has seen.
    pub id: &'a str,
    /// The JSON text of the document before the change that the event tells of.
    pub before: Option<&'a [u8]>,
    /// The service that the event belongs to in a federation.
    pub federation_service: Option<&'a str>,
    /// The id in that service.
    pub federation_id: Option<&'a str>,
}

/// Why an event has no encoding, or bytes are not the encoding of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes are of another version.
    UnknownVersion(u8),
    /// The bytes are no event of this version; the text says why.
    Malformed(String),
    /// A text that has to be there is empty.
    Empty(&'static str),
    /// A field, or the whole, is too long.
    Limit(LimitExceeded),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "event of wire version `{version}`, this node reads up to `{VERSION}`: update it")
            }
            Self::Malformed(reason) => write!(f, "not an event: {reason}"),
            Self::Empty(field) => write!(f, "`{field}` is empty: leave it out or give it a text"),
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}

impl std::error::Error for WireError {}

impl From<LimitExceeded> for WireError {
    fn from(limit: LimitExceeded) -> Self {
        Self::Limit(limit)
    }
}

impl<'a> WireEvent<'a> {
    /// The form of `event`, named `id` unless it has a name.
    pub fn of(event: &'a Event, id: &'a str) -> Self {
        let federation = event.federation();
        let text = |identity: Option<&'a Identity>| identity.map(Identity::as_str);
        Self {
            event_type: event.event_type(),
            channel: event.channel(),
            data: event.document().text().as_bytes(),
            tenant: text(event.tenant()),
            user: text(event.user()),
            id: event.id().unwrap_or(id),
            before: event.before().map(|before| before.text().as_bytes()),
            federation_service: text(federation.and_then(|federation| federation.service.as_ref())),
            federation_id: text(federation.and_then(|federation| federation.id.as_ref())),
        }
    }

    /// The event, checked as one that is published here.
    ///
    /// # Errors
    /// As [`Event::new`].
    pub fn event(&self, limits: &Limits) -> Result<Event, EventError> {
        let identity = |text: Option<&str>| text.and_then(Identity::new);
        let federation =
            Federation { service: identity(self.federation_service), id: identity(self.federation_id) };
        let event = Event::new(self.event_type, self.channel, self.data.into(), limits)?
            .with_tenant(identity(self.tenant))
            .with_user(identity(self.user))
            .with_federation(federation)
            .with_id(self.id, limits)?;
        match self.before {
            Some(before) => event.with_before(before.into(), limits),
            None => Ok(event),
        }
    }
}

/// The bytes of `event`.
///
/// # Errors
/// What [`decode`] would refuse under the same limits: an empty or too long field.
pub fn encode(event: &WireEvent<'_>, limits: &Limits) -> Result<Vec<u8>, WireError> {
    check_fields(event, limits)?;
    write(event)
}

/// The event that `bytes` encode, O(length), without a copy of its texts.
///
/// # Errors
/// Bytes longer than any event, of another version, or not exactly what [`encode`] writes; an empty or too long
/// field.
pub fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<WireEvent<'a>, WireError> {
    LimitExceeded::check("event_bytes_max", bytes.len(), encoded_bytes_max(limits))?;
    let event = if version(bytes)? == SHORT {
        WireEvent::from(rmp_serde::from_slice::<ShortForm<'a>>(bytes).map_err(malformed)?)
    } else {
        WireEvent::from(rmp_serde::from_slice::<Form<'a>>(bytes).map_err(malformed)?)
    };
    check_fields(&event, limits)?;
    if write(&event)? == bytes {
        Ok(event)
    } else {
        Err(WireError::Malformed("trailing bytes, or not the shortest encoding".into()))
    }
}

/// The array as it is written without the last three elements.
#[derive(Serialize, Deserialize)]
struct ShortForm<'a> {
    version: u8,
    event_type: &'a str,
    channel: &'a str,
    #[serde(serialize_with = "binary")]
    data: &'a [u8],
    tenant: Option<&'a str>,
    user: Option<&'a str>,
    id: &'a str,
}

/// The array as it is written, in the order of its elements.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    version: u8,
    event_type: &'a str,
    channel: &'a str,
    #[serde(serialize_with = "binary")]
    data: &'a [u8],
    tenant: Option<&'a str>,
    user: Option<&'a str>,
    id: &'a str,
    #[serde(borrow)]
    before: Option<Binary<'a>>,
    federation_service: Option<&'a str>,
    federation_id: Option<&'a str>,
}

impl<'a> From<ShortForm<'a>> for WireEvent<'a> {
    fn from(ShortForm { version: _, event_type, channel, data, tenant, user, id }: ShortForm<'a>) -> Self {
        Self { event_type, channel, data, tenant, user, id, ..Self::default() }
    }
}

impl<'a> From<Form<'a>> for WireEvent<'a> {
    fn from(form: Form<'a>) -> Self {
        let Form { event_type, channel, data, tenant, user, id, .. } = form;
        let Form { before, federation_service, federation_id, .. } = form;
        let before = before.map(|Binary(before)| before);
        Self { event_type, channel, data, tenant, user, id, before, federation_service, federation_id }
    }
}

/// Bytes that may be absent.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Binary<'a>(#[serde(borrow, serialize_with = "binary")] &'a [u8]);

/// serde takes a slice for a sequence of numbers.
fn binary<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(data)
}

fn write(event: &WireEvent<'_>) -> Result<Vec<u8>, WireError> {
    let WireEvent { event_type, channel, data, tenant, user, id, .. } = *event;
    let WireEvent { before, federation_service, federation_id, .. } = *event;
    let written = if (before, federation_service, federation_id) == (None, None, None) {
        rmp_serde::to_vec(&ShortForm { version: SHORT, event_type, channel, data, tenant, user, id })
    } else {
        let version = VERSION;
        rmp_serde::to_vec(&Form {
            version,
            event_type,
            channel,
            data,
            tenant,
            user,
            id,
            before: before.map(Binary),
            federation_service,
            federation_id,
        })
    };
    written.map_err(malformed)
}

/// The version stands in the second byte, so a form with other elements is told from a broken one.
fn version(bytes: &[u8]) -> Result<u8, WireError> {
    match bytes {
        [0x90..=0x9f, version @ SHORT..=VERSION, ..] => Ok(*version),
        [0x90..=0x9f, version @ 0..=0x7f, ..] => Err(WireError::UnknownVersion(*version)),
        _ => Err(WireError::Malformed("an array that starts with a version expected".into())),
    }
}

pub(crate) fn check_fields(event: &WireEvent<'_>, limits: &Limits) -> Result<(), WireError> {
    LimitExceeded::check("event_bytes_max", event.data.len(), limits.event_bytes_max)?;
    let before = event.before.map_or(0, <[u8]>::len);
    LimitExceeded::check("event_bytes_max", before, limits.event_bytes_max)?;
    let texts = [("event_type", event.event_type), ("channel", event.channel), ("id", event.id)];
    let identities = [
        ("tenant", event.tenant),
        ("user", event.user),
        ("federation_service", event.federation_service),
        ("federation_id", event.federation_id),
    ];
    let identities = identities.into_iter().filter_map(|(field, text)| Some((field, text?)));
    for (field, text) in texts.into_iter().chain(identities) {
        if text.is_empty() {
            return Err(WireError::Empty(field));
        }
        LimitExceeded::check("name_bytes_max", text.len(), limits.name_bytes_max)?;
    }
    Ok(())
}

/// Bytes of the form of an event within the bounds.
pub(crate) fn encoded_bytes_max(limits: &Limits) -> usize {
    let names = limits.name_bytes_max.saturating_mul(7);
    limits.event_bytes_max.saturating_mul(2).saturating_add(names).saturating_add(FRAMING_BYTES_MAX)
}

fn malformed(error: impl fmt::Display) -> WireError {
    WireError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: WireEvent<'static> = WireEvent {
        event_type: "added",
        channel: "room",
        data: br#"{"n":1}"#,
        tenant: Some("t"),
        user: None,
        id: "e1",
        before: None,
        federation_service: None,
        federation_id: None,
    };

    const CHANGE: WireEvent<'static> =
        WireEvent { before: Some(br#"{"n":0}"#), federation_service: Some("s"), ..EVENT };

    fn encoded(event: &WireEvent<'_>) -> Vec<u8> {
        encode(event, &Limits::default()).unwrap()
    }

    fn refusal(bytes: &[u8]) -> WireError {
        decode(bytes, &Limits::default()).unwrap_err()
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014): random cases that are the same on every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, bound: usize) -> usize {
            usize::try_from(self.next() % bound as u64).unwrap()
        }

        fn text(&mut self) -> String {
            // Around the lengths at which MessagePack changes its header: 31, 255.
            let length = [1, 30, 31, 32, 33, 254, 255, 256, 257][self.below(9)];
            (0..length).map(|_| ['a', '"', '\0', 'é', '🦀'][self.below(5)]).take(length / 2 + 1).collect()
        }

        fn bytes(&mut self) -> Vec<u8> {
            let length = [0, 1, 7, 64, 255, 256, 65_535, 65_536][self.below(8)];
            (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
        }
    }

    #[test]
    fn the_form_is_what_the_document_says() {
        let bytes =
            [b"\x97\x01\xa5added\xa4room\xc4\x07".as_slice(), br#"{"n":1}"#, b"\xa1t\xc0\xa2e1"].concat();
        assert_eq!(encoded(&EVENT), bytes);
        assert_eq!(decode(&bytes, &Limits::default()), Ok(EVENT));
        let more = [b"\xc4\x07".as_slice(), br#"{"n":0}"#, b"\xa1s\xc0"].concat();
        let bytes = [b"\x9a\x02", &bytes[2..], &more].concat();
        assert_eq!(encoded(&CHANGE), bytes);
        assert_eq!(decode(&bytes, &Limits::default()), Ok(CHANGE));
    }

    #[test]
    fn an_event_without_more_is_of_the_version_that_all_nodes_read() {
        for event in [
            WireEvent { before: Some(b"{}"), ..EVENT },
            WireEvent { federation_service: Some("s"), ..EVENT },
            WireEvent { federation_id: Some("7"), ..EVENT },
        ] {
            assert_eq!(encoded(&event)[..2], *b"\x9a\x02");
            assert_eq!(decode(&encoded(&event), &Limits::default()), Ok(event));
        }
        // The same event in the longer form would be a second encoding of it.
        let longer = [b"\x9a\x02", &encoded(&EVENT)[2..], b"\xc0\xc0\xc0"].concat();
        assert!(matches!(refusal(&longer), WireError::Malformed(_)));
        let mixed = [b"\x9a\x01", &encoded(&CHANGE)[2..]].concat();
        assert!(matches!(refusal(&mixed), WireError::Malformed(_)));
        let mixed = [b"\x97\x02", &encoded(&EVENT)[2..]].concat();
        assert!(matches!(refusal(&mixed), WireError::Malformed(_)));
    }

    #[test]
    fn random_events_come_back_as_they_were() {
        let mut random = Random(1);
        for _ in 0..500 {
            let texts: [String; 7] = std::array::from_fn(|_| random.text());
            let (data, before) = (random.bytes(), random.bytes());
            let [event_type, channel, id, tenant, user, service, federated] =
                texts.each_ref().map(String::as_str);
            let before = (random.below(2) == 0).then_some(&*before);
            let mut sometimes = |text| (random.below(2) == 0).then_some(text);
            let (tenant, user) = (sometimes(tenant), sometimes(user));
            let (federation_service, federation_id) = (sometimes(service), sometimes(federated));
            let event = WireEvent {
                event_type,
                channel,
                data: &data,
                tenant,
                user,
                id,
                before,
                federation_service,
                federation_id,
            };
            assert_eq!(decode(&encoded(&event), &Limits::default()), Ok(event));
        }
    }

    #[test]
    fn whatever_is_decoded_is_encoded_to_the_same_bytes() {
        for event in [EVENT, CHANGE] {
            let mut random = Random(2);
            let (original, mut accepted) = (encoded(&event), 0);
            for _ in 0..200_000 {
                let mut bytes = original.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next().to_le_bytes()[0];
                }
                if let Ok(event) = decode(&bytes, &Limits::default()) {
                    assert_eq!(encoded(&event), bytes);
                    accepted += 1;
                }
            }
            assert!(accepted > 1_000, "{accepted} of the changed events were read: too few to tell");
        }
    }

    #[test]
    fn random_bytes_are_refused_without_a_panic() {
        let mut random = Random(3);
        for _ in 0..20_000 {
            let mut bytes = random.bytes();
            bytes.truncate(256);
            assert!(decode(&bytes, &Limits::default()).is_err());
            for head in [[0x97, SHORT], [0x9a, VERSION]] {
                assert!(decode(&[head.as_slice(), &bytes].concat(), &Limits::default()).is_err());
            }
        }
    }

    #[test]
    fn every_truncation_and_every_trailing_byte_is_refused() {
        for bytes in [encoded(&EVENT), encoded(&CHANGE)] {
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length], &Limits::default()).is_err(), "{length}");
            }
            for byte in 0..=255 {
                let trailing = [bytes.as_slice(), &[byte]].concat();
                let reason = "trailing bytes, or not the shortest encoding";
                assert_eq!(refusal(&trailing), WireError::Malformed(reason.into()));
            }
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut bytes = encoded(&EVENT);
        for version in (0..=0x7f).filter(|version| !(SHORT..=VERSION).contains(version)) {
            bytes[1] = version;
            assert_eq!(refusal(&bytes), WireError::UnknownVersion(version));
        }
        assert_eq!(refusal(b"\x93\x03\xc0\xc0"), WireError::UnknownVersion(3));
    }

    #[test]
    fn other_encodings_of_the_same_event_are_refused() {
        let row = |from: &[u8], to: &[u8]| {
            let bytes = encoded(&EVENT);
            let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
            let changed = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
            assert!(matches!(refusal(&changed), WireError::Malformed(_)), "{to:x?}");
        };
        row(b"\xa4room", b"\xd9\x04room");
        row(b"\xa4room", b"\xc4\x04room");
        row(b"\xc4\x07", b"\xc5\0\x07");
        row(b"\xc4\x07", b"\xa7");
        row(b"\x97\x01", b"\x97\xcc\x01");
        row(b"\x97\x01", b"\xdc\0\x07\x01");
        row(b"\xa2e1", b"\x02");
        row(b"\xa2e1", b"\xa2\xff\xff");
    }

    #[test]
    fn a_claimed_length_beyond_the_bytes_is_refused() {
        let start = b"\x97\x01\xa1a\xa1b";
        for length in [b"\xc6\xff\xff\xff\xff".as_slice(), b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"] {
            assert!(matches!(refusal(&[start, length].concat()), WireError::Malformed(_)));
        }
    }

    #[test]
    fn bounds_hold_for_writers_and_readers() {
        let limits = Limits { name_bytes_max: 5, event_bytes_max: 7, ..Limits::default() };
        let bytes = encode(&EVENT, &limits).unwrap();
        assert_eq!(decode(&bytes, &limits), Ok(EVENT));
        let row = |event: WireEvent<'_>, limit: &'static str, asked: usize, max: usize| {
            let error = Err(WireError::Limit(LimitExceeded { limit, asked, max }));
            assert_eq!(encode(&event, &limits).map(drop), error);
            assert_eq!(decode(&encoded(&event), &limits).map(drop), error);
        };
        row(WireEvent { data: b"{\"n\":12}", ..EVENT }, "event_bytes_max", 8, 7);
        row(WireEvent { event_type: "change", ..EVENT }, "name_bytes_max", 6, 5);
        row(WireEvent { user: Some("abcdef"), ..EVENT }, "name_bytes_max", 6, 5);
        row(WireEvent { before: Some(b"{\"n\":12}"), ..EVENT }, "event_bytes_max", 8, 7);
        row(WireEvent { federation_id: Some("abcdef"), ..EVENT }, "name_bytes_max", 6, 5);
        let huge = vec![0x97; 98];
        let error = LimitExceeded { limit: "event_bytes_max", asked: 98, max: 97 };
        assert_eq!(decode(&huge, &limits), Err(error.into()));
    }

    #[test]
    fn an_event_at_all_its_bounds_fits_the_bound_of_the_whole() {
        let limits = Limits::default();
        let (name, data) = ("n".repeat(limits.name_bytes_max), vec![b' '; limits.event_bytes_max]);
        let (id, tenant) = (name.as_str(), Some(name.as_str()));
        let event = WireEvent {
            event_type: id,
            channel: id,
            data: &data,
            tenant,
            user: tenant,
            id,
            before: Some(&data),
            federation_service: tenant,
            federation_id: tenant,
        };
        assert_eq!(decode(&encode(&event, &limits).unwrap(), &limits), Ok(event));
    }

    #[test]
    fn an_empty_text_is_refused_and_named() {
        let row = |event: WireEvent<'_>, field| {
            assert_eq!(encode(&event, &Limits::default()), Err(WireError::Empty(field)));
        };
        row(WireEvent { event_type: "", ..EVENT }, "event_type");
        row(WireEvent { channel: "", ..EVENT }, "channel");
        row(WireEvent { id: "", ..EVENT }, "id");
        row(WireEvent { tenant: Some(""), ..EVENT }, "tenant");
        row(WireEvent { user: Some(""), ..EVENT }, "user");
        row(WireEvent { federation_service: Some(""), ..EVENT }, "federation_service");
        row(WireEvent { federation_id: Some(""), ..EVENT }, "federation_id");
    }
}
