//! What stands in Redis and in its answers, as values. Packed: each field as its length, a colon
//! and its bytes. Whatever is not exactly what the scripts write is an error.

use std::str::FromStr;

use redis::Value;
use switchboard_core::{Address, Departure, Eviction, Farewell, LogId, NodeId, PeerId, Position};

use super::{Error, keys};
use crate::cluster::store::{
    Known, Lease, News, NoSeat, NodeStatus, Outcome, Seat, Snapshot, StoredChange,
};

const DEPARTURES: &[(&str, Departure)] = &[
    ("aloud", Departure::Asked(Farewell::Aloud)),
    ("quiet", Departure::Asked(Farewell::Quiet)),
    ("dropped", Departure::Asked(Farewell::Dropped)),
    ("ghost", Departure::Evicted(Eviction::Ghost)),
    ("replaced", Departure::Evicted(Eviction::Replaced)),
    ("kicked", Departure::Evicted(Eviction::Kicked)),
    ("lost", Departure::Lost),
];

pub(super) fn departure_text(departure: Departure) -> &'static str {
    match departure {
        Departure::Asked(Farewell::Aloud) => "aloud",
        Departure::Asked(Farewell::Quiet) => "quiet",
        Departure::Asked(Farewell::Dropped) => "dropped",
        Departure::Evicted(Eviction::Ghost) => "ghost",
        Departure::Evicted(Eviction::Replaced) => "replaced",
        Departure::Evicted(Eviction::Kicked) => "kicked",
        Departure::Lost => "lost",
    }
}

/// News as they come by a log's channel.
pub(super) fn news(packed: &[u8]) -> Result<News, Error> {
    let mut fields = Fields::new("news", packed);
    let version = fields.text("version")?;
    if version != "1" {
        return Err(Error::Garbage(format!(
            "news of version `{}`: the nodes of this prefix run different releases",
            version.escape_default()
        )));
    }
    let at = Known {
        generation: fields.parse("generation")?,
        head: Position::from(fields.parse::<u64>("head")?),
    };
    let change = match fields.text("change")? {
        "join" => StoredChange::Join(seat(fields.bytes("member")?)?),
        "leave" => StoredChange::Leave(fields.peer()?, fields.departure()?),
        _ => return Err(fields.error("change")),
    };
    fields.end()?;
    Ok(News { at, change })
}

fn seat(packed: &[u8]) -> Result<Seat, Error> {
    let mut fields = Fields::new("member", packed);
    let seat = Seat {
        peer: fields.peer()?,
        address: {
            let address = fields.text("address")?;
            Address::parse(address, 0).map_err(|_| fields.error("address"))?
        },
        lease: Lease {
            node: node(fields.text("node")?)?,
            epoch: fields.parse("epoch")?,
        },
        since: Position::from(fields.parse::<u64>("since")?),
        card: fields.text("card")?.to_owned(),
    };
    fields.end()?;
    Ok(seat)
}

/// The answer of `HGETALL` on the list of nodes, asked plainly or handed on by a script.
pub(super) fn nodes(value: &Value) -> Result<Vec<NodeStatus>, Error> {
    let fields: Vec<_> = if let Value::Map(fields) = value {
        let both = fields.iter().flat_map(|(name, value)| [name, value]);
        both.collect()
    } else if let Value::Array(fields) = value {
        fields.iter().collect()
    } else {
        return Err(Error::garbage("the nodes"));
    };
    let (pairs, []) = fields.as_chunks::<2>() else {
        return Err(Error::garbage("the nodes"));
    };
    let lines = pairs
        .iter()
        .map(|[name, line]| node_status(text(name)?, bytes(line)?));
    let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
    lines.sort_by_key(|line| line.lease);
    Ok(lines)
}

fn node_status(name: &str, packed: &[u8]) -> Result<NodeStatus, Error> {
    let mut fields = Fields::new("node", packed);
    let status = NodeStatus {
        lease: Lease {
            node: node(name)?,
            epoch: fields.parse("epoch")?,
        },
        beat: fields.parse("beat")?,
        buried: match fields.text("buried")? {
            "0" => false,
            "1" => true,
            _ => return Err(fields.error("buried")),
        },
        status: fields.text("status")?.to_owned(),
    };
    fields.end()?;
    Ok(status)
}

/// The members of a set of opened logs.
pub(super) fn logs(value: &Value) -> Result<Vec<LogId>, Error> {
    let (Value::Set(members) | Value::Array(members)) = value else {
        return Err(Error::garbage("a set of logs"));
    };
    let parse = |member| keys::parse_log(text(member)?).ok_or(Error::garbage("logs"));
    let mut logs = members.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    logs.sort();
    Ok(logs)
}

pub(super) fn snapshot(value: &Value) -> Result<Option<Snapshot>, Error> {
    if *value == Value::Nil {
        return Ok(None);
    }
    let [generation, head, seats] = array(value)?;
    let Value::Array(seats) = seats else {
        return Err(Error::garbage("seats"));
    };
    let seats = seats.iter().map(|packed| seat(bytes(packed)?));
    let mut seats = seats.collect::<Result<Vec<_>, _>>()?;
    seats.sort_by_key(|seat| (seat.since, seat.peer));
    Ok(Some(Snapshot {
        known: known(generation, head)?,
        seats,
    }))
}

pub(super) fn outcome(value: &Value) -> Result<Outcome, Error> {
    let Value::Array(values) = value else {
        return Err(Error::garbage("an outcome"));
    };
    let [what, values @ ..] = values.as_slice() else {
        return Err(Error::garbage("an outcome"));
    };
    match (text(what)?, values) {
        ("at", [generation, head]) => Ok(Outcome::At(known(generation, head)?)),
        ("present", [since]) => Ok(Outcome::Present(number::<u64>(since)?.into())),
        ("fenced", []) => Ok(Outcome::Fenced),
        ("absent", []) => Ok(Outcome::Absent),
        (why, []) => no_seat(why).map(Outcome::NoSeat),
        _ => Err(Error::garbage("an outcome")),
    }
}

pub(super) fn declined(value: &Value) -> Result<Vec<(PeerId, NoSeat)>, Error> {
    let Value::Array(values) = value else {
        return Err(Error::garbage("who is declined"));
    };
    let (pairs, []) = values.as_chunks::<2>() else {
        return Err(Error::garbage("who is declined"));
    };
    let parse = |[peer, why]: &[Value; 2]| {
        let peer = PeerId::parse(text(peer)?).ok_or(Error::garbage("a peer"))?;
        Ok((peer, no_seat(text(why)?)?))
    };
    pairs.iter().map(parse).collect()
}

fn no_seat(why: &str) -> Result<NoSeat, Error> {
    match why {
        "taken" => Ok(NoSeat::Taken),
        "full" => Ok(NoSeat::Full),
        _ => Err(Error::garbage("why there is no seat")),
    }
}

fn known(generation: &Value, head: &Value) -> Result<Known, Error> {
    Ok(Known {
        generation: number(generation)?,
        head: number::<u64>(head)?.into(),
    })
}

fn node(text: &str) -> Result<NodeId, Error> {
    let node = text.parse().ok();
    node.filter(|node: &NodeId| node.to_string() == text)
        .ok_or(Error::garbage("a node"))
}

/// The answer, unless it is an error.
pub(super) fn accepted(answer: &Value) -> Result<&Value, Error> {
    if let Value::ServerError(error) = answer {
        return Err(Error::from(error));
    }
    Ok(answer)
}

/// An answer of exactly so many values.
pub(super) fn array<const N: usize>(value: &Value) -> Result<&[Value; N], Error> {
    let values = if let Value::Array(values) = value {
        values.as_slice().try_into().ok()
    } else {
        None
    };
    values.ok_or_else(|| Error::garbage(format_args!("{N} values")))
}

pub(super) fn bytes(value: &Value) -> Result<&[u8], Error> {
    let Value::BulkString(bytes) = value else {
        return Err(Error::garbage("bytes"));
    };
    Ok(bytes)
}

pub(super) fn text(value: &Value) -> Result<&str, Error> {
    if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = value {
        return Ok(text);
    }
    str::from_utf8(bytes(value)?).map_err(|_| Error::garbage("text"))
}

pub(super) fn number<N: FromStr>(value: &Value) -> Result<N, Error> {
    text(value)?.parse().map_err(|_| Error::garbage("a number"))
}

pub(super) fn count(value: &Value) -> Result<u64, Error> {
    let count = if let Value::Int(count) = value {
        u64::try_from(*count).ok()
    } else {
        None
    };
    count.ok_or(Error::garbage("a count"))
}

pub(super) fn flag(value: &Value) -> Result<bool, Error> {
    match count(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::garbage("yes or no")),
    }
}

/// The packed fields of a record that have not been read yet.
struct Fields<'a> {
    /// The name of the record in errors.
    record: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(record: &'static str, packed: &'a [u8]) -> Self {
        Self {
            record,
            rest: packed,
        }
    }

    fn error(&self, field: &str) -> Error {
        Error::Garbage(format!(
            "the field `{field}` of a stored `{}` is malformed",
            self.record
        ))
    }

    fn bytes(&mut self, field: &str) -> Result<&'a [u8], Error> {
        let (value, rest) = split_field(self.rest).ok_or_else(|| self.error(field))?;
        self.rest = rest;
        Ok(value)
    }

    fn text(&mut self, field: &str) -> Result<&'a str, Error> {
        str::from_utf8(self.bytes(field)?).map_err(|_| self.error(field))
    }

    fn parse<N: FromStr>(&mut self, field: &str) -> Result<N, Error> {
        self.text(field)?.parse().map_err(|_| self.error(field))
    }

    fn peer(&mut self) -> Result<PeerId, Error> {
        PeerId::parse(self.text("peer")?).ok_or_else(|| self.error("peer"))
    }

    fn departure(&mut self) -> Result<Departure, Error> {
        let text = self.text("departure")?;
        let row = DEPARTURES.iter().find(|(name, _)| *name == text);
        row.map(|(_, departure)| *departure)
            .ok_or_else(|| self.error("departure"))
    }

    fn end(&self) -> Result<(), Error> {
        self.rest
            .is_empty()
            .then_some(())
            .ok_or_else(|| self.error("end"))
    }
}

/// The first packed field, and the bytes after it.
fn split_field(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = packed.iter().position(|byte| *byte == b':')?;
    let length = str::from_utf8(&packed[..colon]).ok()?.parse().ok()?;
    packed[colon + 1..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(fields: &[&str]) -> Vec<u8> {
        let fields = fields
            .iter()
            .map(|field| format!("{}:{field}", field.len()));
        fields.collect::<String>().into_bytes()
    }

    /// The departure after this one. The match has no wildcard, so that a new variant must be added to it.
    fn next(departure: Departure) -> Option<Departure> {
        Some(match departure {
            Departure::Asked(Farewell::Aloud) => Departure::Asked(Farewell::Quiet),
            Departure::Asked(Farewell::Quiet) => Departure::Asked(Farewell::Dropped),
            Departure::Asked(Farewell::Dropped) => Departure::Evicted(Eviction::Ghost),
            Departure::Evicted(Eviction::Ghost) => Departure::Evicted(Eviction::Replaced),
            Departure::Evicted(Eviction::Replaced) => Departure::Evicted(Eviction::Kicked),
            Departure::Evicted(Eviction::Kicked) => Departure::Lost,
            Departure::Lost => return None,
        })
    }

    #[test]
    fn every_departure_is_read_back_from_its_text() {
        let first = Departure::Asked(Farewell::Aloud);
        let all: Vec<_> =
            std::iter::successors(Some(first), |departure| next(*departure)).collect();
        for departure in &all {
            let packed = packed(&[departure_text(*departure)]);
            assert_eq!(Fields::new("news", &packed).departure(), Ok(*departure));
        }
        assert_eq!(all.len(), DEPARTURES.len());
    }

    #[test]
    fn an_error_names_the_record_and_the_field() {
        let bad = packed(&["1", "3", "head"]);
        let error = news(&bad).unwrap_err().to_string();
        assert_eq!(error, "the field `head` of a stored `news` is malformed");
    }

    #[test]
    fn news_are_read_and_nothing_that_looks_like_them() {
        let peer = PeerId::from_random([7; 16]);
        let good = packed(&["1", "3", "5", "leave", &peer.to_string(), "quiet"]);
        let expected = News {
            at: Known {
                generation: 3,
                head: 5.into(),
            },
            change: StoredChange::Leave(peer, Departure::Asked(Farewell::Quiet)),
        };
        assert_eq!(news(&good), Ok(expected));
        for end in 0..good.len() {
            assert!(news(&good[..end]).is_err(), "cut at {end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xFF;
            assert!(news(&bad).is_err(), "spoilt at {at}");
        }
        assert!(news(&[good, packed(&["more"])].concat()).is_err());
        assert!(news(b"99999999999999999999:1").is_err());
        assert!(news(b"18446744073709551615:1").is_err());
    }
}
