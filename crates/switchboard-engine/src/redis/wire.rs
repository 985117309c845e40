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
    let mut fields = Fields(packed);
    let version = fields.text()?;
    if version != "1" {
        return Err(Error::Garbage(format!(
            "news of version `{}`: the nodes of this prefix run different releases",
            version.escape_default()
        )));
    }
    let at = Known {
        generation: fields.parse()?,
        head: Position::from(fields.parse::<u64>()?),
    };
    let change = match fields.text()? {
        "join" => StoredChange::Join(seat(fields.bytes()?)?),
        "leave" => StoredChange::Leave(fields.peer()?, fields.departure()?),
        _ => return Err(Fields::error()),
    };
    fields.end()?;
    Ok(News { at, change })
}

fn seat(packed: &[u8]) -> Result<Seat, Error> {
    let mut fields = Fields(packed);
    let seat = Seat {
        peer: fields.peer()?,
        address: Address::parse(fields.text()?, 0).map_err(|_| Fields::error())?,
        lease: Lease {
            node: node(fields.text()?)?,
            epoch: fields.parse()?,
        },
        since: Position::from(fields.parse::<u64>()?),
        card: fields.text()?.to_owned(),
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
    let mut fields = Fields(packed);
    let status = NodeStatus {
        lease: Lease {
            node: node(name)?,
            epoch: fields.parse()?,
        },
        beat: fields.parse()?,
        buried: match fields.text()? {
            "0" => false,
            "1" => true,
            _ => return Err(Fields::error()),
        },
        status: fields.text()?.to_owned(),
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

/// What is left of packed fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn error() -> Error {
        Error::Garbage("what stands in Redis is not as Switchboard writes it".to_owned())
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let colon = self.0.iter().position(|byte| *byte == b':');
        let (length, rest) = colon
            .and_then(|colon| Some((str::from_utf8(&self.0[..colon]).ok()?, &self.0[colon + 1..])))
            .ok_or_else(Self::error)?;
        let length = length.parse().map_err(|_| Self::error())?;
        let (field, rest) = rest.split_at_checked(length).ok_or_else(Self::error)?;
        self.0 = rest;
        Ok(field)
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        str::from_utf8(self.bytes()?).map_err(|_| Self::error())
    }

    fn parse<N: FromStr>(&mut self) -> Result<N, Error> {
        self.text()?.parse().map_err(|_| Self::error())
    }

    fn peer(&mut self) -> Result<PeerId, Error> {
        PeerId::parse(self.text()?).ok_or_else(Self::error)
    }

    fn departure(&mut self) -> Result<Departure, Error> {
        let text = self.text()?;
        let row = DEPARTURES.iter().find(|(name, _)| *name == text);
        row.map(|(_, departure)| *departure).ok_or_else(Self::error)
    }

    fn end(&self) -> Result<(), Error> {
        self.0.is_empty().then_some(()).ok_or_else(Self::error)
    }
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

    #[test]
    fn every_departure_has_a_word_that_leads_back() {
        for (text, departure) in DEPARTURES {
            assert_eq!(departure_text(*departure), *text);
        }
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
