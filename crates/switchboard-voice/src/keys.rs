//! Users that are public keys: points of P-256, and their signatures over challenges.
//!
//! The challenge itself is signed, without hashing: its bytes are the ECDSA digest, as a big-endian number that
//! is padded on the left to 32 bytes.

mod tickets;

use std::fmt;

use base16ct::{lower::encode_string, mixed::decode_vec};
use p256::{
    FieldBytes, Scalar,
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::hazmat::{PrehashSigner, PrehashVerifier},
    },
    elliptic_curve::{Generate, ops::Reduce},
};

pub(crate) use tickets::{ChallengeStore, Proof};

/// Length of a compressed point (SEC 1) in bytes: the parity of y, and x.
const POINT_LENGTH: usize = 33;

/// Length in bytes of the digest that a P-256 signature covers, and of a secret number.
const DIGEST_LENGTH: usize = 32;

/// Maximum length of a signature in hex digits: a DER signature has at most 72 bytes.
const SIGNATURE_HEX_MAX: usize = 2 * 72;

/// The message that a client signs for `/keyXCHG`. The clients of the reference server (the original implementation)
/// sign these bytes.
pub(crate) const KEY_EXCHANGE_MESSAGE: [u8; 11] = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// A user's public key: a point of P-256, written as its compressed form in lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; POINT_LENGTH]);

impl PublicKey {
    /// Reads 66 hex digits of any case. Returns `None` if the text is not a compressed point of the curve.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 2 * POINT_LENGTH {
            return None;
        }
        let point: [u8; POINT_LENGTH] = decode_vec(text).ok()?.try_into().ok()?;
        // SEC 1 has another form of this length (first byte 5), which does not say which of the two points it is.
        let is_compressed = matches!(point[0], 2 | 3);
        let key = Self(point);
        (is_compressed && key.verifying().is_some()).then_some(key)
    }

    /// Whether `signature` (DER in hex) is a signature by this key over `challenge` (1 to 32 bytes).
    #[must_use]
    pub fn verifies(&self, challenge: impl AsRef<[u8]>, signature: &str) -> bool {
        verify(self, challenge, signature)
    }

    fn verifying(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_sec1_bytes(&self.0).ok()
    }

    fn from_verifying_key(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(true);
        let mut bytes = [0; POINT_LENGTH];
        bytes.copy_from_slice(point.as_bytes());
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A user's key pair: for tests, tools, and clients in Rust.
///
/// It is erased from memory when dropped, and `{:?}` shows its public half only.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Generates a key pair from the operating system's random source.
    #[must_use]
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads the 64 hex digits of [`SecretKey::to_hex`], in any case. Returns `None`
    /// if the text is not a number between zero and the order of the curve, both excluded.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * DIGEST_LENGTH {
            return None;
        }
        SigningKey::from_slice(&decode_vec(text).ok()?)
            .ok()
            .map(Self)
    }

    /// The secret number, big-endian, in 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        encode_string(&self.0.to_bytes())
    }

    /// The public key, which identifies the user.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_verifying_key(self.0.verifying_key())
    }

    /// Signs a challenge: ASN.1 DER in lower-case hex. Returns `None` for a challenge that the
    /// server rejects: empty, longer than 32 bytes, starting with a zero byte, or the order of the curve.
    #[must_use]
    pub fn sign(&self, challenge: impl AsRef<[u8]>) -> Option<String> {
        let digest = digest(challenge.as_ref())?;
        let signature: Signature = self.0.sign_prehash(&digest).ok()?;
        Some(encode_string(signature.to_der().as_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

/// The public key of the server. Generated at startup and sent to every client.
#[derive(Debug)]
pub(crate) struct ServerKey {
    public: String,
}

impl ServerKey {
    pub(crate) fn generate() -> Self {
        let key = SigningKey::generate();
        let point = key.verifying_key().to_sec1_point(false);
        Self {
            public: encode_string(point.as_bytes()),
        }
    }

    /// The public key, uncompressed: 130 hex digits that begin with 04.
    pub(crate) fn public_hex_uncompressed(&self) -> &str {
        &self.public
    }
}

/// Whether a signature over this challenge proves that exactly this challenge was signed.
///
/// ECDSA signs a number, so these challenges are not valid:
/// * the number zero, as which an empty challenge would be signed: a signature over it can be forged for any key;
/// * leading zero bytes, which do not change the number: a caller could send zero bytes and a ticket of the callee as
///   its challenge, and authenticate as the callee with the signature that the callee answers;
/// * more than 32 bytes: the signature does not cover them.
pub(crate) fn is_valid_challenge(challenge: &str) -> bool {
    digest(challenge.as_bytes()).is_some()
}

/// Whether `signature` (ASN.1 DER in hex) is a signature by `key` over `challenge`. For each valid s of an ECDSA
/// signature there is another valid one; both are accepted.
pub(crate) fn verify(key: &PublicKey, challenge: impl AsRef<[u8]>, signature: &str) -> bool {
    ParsedSignature::read(key, signature).is_some_and(|signed| signed.signs(challenge.as_ref()))
}

/// A parsed signature and its claimed key, for verification against several challenges.
struct ParsedSignature {
    key: VerifyingKey,
    signature: Signature,
}

impl ParsedSignature {
    fn read(key: &PublicKey, signature: &str) -> Option<Self> {
        if signature.len() > SIGNATURE_HEX_MAX {
            return None;
        }
        let signature = Signature::from_der(&decode_vec(signature).ok()?).ok()?;
        let key = key.verifying()?;
        Some(Self { key, signature })
    }

    fn signs(&self, challenge: &[u8]) -> bool {
        digest(challenge)
            .is_some_and(|digest| self.key.verify_prehash(&digest, &self.signature).is_ok())
    }
}

/// The digest that is signed for a challenge; `None` if the challenge is not valid ([`is_valid_challenge`]).
fn digest(challenge: &[u8]) -> Option<[u8; DIGEST_LENGTH]> {
    let start = DIGEST_LENGTH.checked_sub(challenge.len())?;
    if matches!(challenge, [] | [0, ..]) {
        return None;
    }
    let mut digest = [0; DIGEST_LENGTH];
    digest[start..].copy_from_slice(challenge);
    // The order of the curve is also zero in the scalar field.
    let number = Scalar::reduce(&FieldBytes::from(digest));
    (number != Scalar::ZERO).then_some(digest)
}

#[cfg(test)]
mod tests {
    use p256::{
        ProjectivePoint,
        elliptic_curve::{point::AffineCoordinates, scalar::IsHigh},
    };
    use serde_json::Value;

    use super::*;

    /// Signatures by the browser's library, elliptic 6.6.1, which the reference server accepted.
    const VECTORS: &str = include_str!("vectors.jsonl");

    struct Vector {
        name: String,
        key: PublicKey,
        challenge: Vec<u8>,
        signature: String,
    }

    fn vectors() -> Vec<Vector> {
        let read = |line: &str| {
            let fields: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| fields[name].as_str().unwrap().to_owned();
            Vector {
                name: field("name"),
                key: PublicKey::parse(&field("pub")).unwrap(),
                challenge: decode_vec(field("msg")).unwrap(),
                signature: field("sig"),
            }
        };
        VECTORS.lines().map(read).collect()
    }

    #[test]
    fn the_browsers_signatures_verify_if_the_challenge_is_valid() {
        let mut valid = 0;
        for vector in vectors() {
            let is_valid_length = (1..=32).contains(&vector.challenge.len());
            let is_valid = verify(&vector.key, &vector.challenge, &vector.signature);
            assert_eq!(is_valid, is_valid_length, "{}", vector.name);
            if let Ok(text) = std::str::from_utf8(&vector.challenge) {
                assert_eq!(is_valid_challenge(text), is_valid_length, "{}", vector.name);
            }
            valid += usize::from(is_valid_length);
        }
        assert_eq!((valid, vectors().len()), (11, 18));
    }

    #[test]
    fn signatures_of_other_keys_or_over_changed_challenges_do_not_verify() {
        let other = SecretKey::generate().public();
        let valid = vectors()
            .into_iter()
            .filter(|vector| digest(&vector.challenge).is_some());
        for vector in valid {
            let Vector {
                name,
                key,
                challenge,
                signature,
            } = vector;
            assert!(!verify(&other, &challenge, &signature), "{name}");
            for at in 0..challenge.len() {
                let mut challenge = challenge.clone();
                challenge[at] ^= 1 << (at % 8);
                assert!(!verify(&key, &challenge, &signature), "{name}, byte {at}");
            }
            let longer = [&challenge[..], b"0"].concat();
            assert!(!verify(&key, longer, &signature), "{name}");
        }
    }

    #[test]
    fn changing_any_byte_of_a_signature_invalidates_it() {
        let vector = vectors().remove(0);
        let signature = decode_vec(&vector.signature).unwrap();
        for at in 0..signature.len() {
            let mut signature = signature.clone();
            signature[at] ^= 1 << (at % 8);
            let is_valid = verify(&vector.key, &vector.challenge, &encode_string(&signature));
            assert!(!is_valid, "byte {at}");
        }
    }

    #[test]
    fn malformed_signatures_are_rejected() {
        let key = SecretKey::generate();
        let good = key.sign("challenge").unwrap();
        let malformed = [
            "".to_owned(),
            "30".to_owned(),
            "3006020100020100".to_owned(),
            "3006020101020101".to_owned(),
            good[1..].to_owned(),
            good[2..].to_owned(),
            good[..good.len() - 2].to_owned(),
            format!("{good}00"),
            format!("0x{good}"),
            format!(" {good}"),
            good.replace('0', "g"),
            "é".repeat(72),
            "00".repeat(100_000),
        ];
        for signature in malformed {
            assert!(!verify(&key.public(), "challenge", &signature));
        }
        assert!(verify(&key.public(), "challenge", &good));
        assert!(verify(
            &key.public(),
            "challenge",
            &good.to_ascii_uppercase()
        ));
    }

    #[test]
    fn both_equivalent_values_of_s_are_accepted() {
        let key = SecretKey::generate();
        let signature = key.sign("12345678").unwrap();
        let signature = Signature::from_der(&decode_vec(&signature).unwrap()).unwrap();
        let (r, s) = signature.split_scalars();
        let other = Signature::from_scalars(r, -s).unwrap();
        assert!(bool::from(s.is_high()) != bool::from((-s).is_high()));
        for signature in [signature, other] {
            let signature = encode_string(signature.to_der().as_bytes());
            assert!(verify(&key.public(), "12345678", &signature));
        }
    }

    /// A forged signature over the number zero, made without the key's secret:
    /// R = v·Q, r = x of R, s = r / v.
    fn forged_over_zero(key: &PublicKey) -> String {
        let point = ProjectivePoint::from(*key.verifying().unwrap().as_affine());
        let v = Scalar::from(7_u64);
        let r = <Scalar as Reduce<FieldBytes>>::reduce(&(point * v).to_affine().x());
        let s = r * v.invert().unwrap();
        let signature = Signature::from_scalars(r, s).unwrap();
        encode_string(signature.to_der().as_bytes())
    }

    #[test]
    fn challenges_equal_to_zero_are_rejected() {
        let key = vectors().remove(0).key;
        let forged = forged_over_zero(&key);
        let verifier = key.verifying().unwrap();
        let signature = Signature::from_der(&decode_vec(&forged).unwrap()).unwrap();
        assert!(verifier.verify_prehash(&[0; 32], &signature).is_ok());

        let order = -Scalar::ONE;
        let mut order: [u8; 32] = order.to_bytes().into();
        order[31] += 1;
        for challenge in [&[][..], &[0], &[0; 8], &[0; 32], &order] {
            assert!(!verify(&key, challenge, &forged), "{challenge:?}");
            assert!(SecretKey::generate().sign(challenge).is_none());
        }
        assert!(!is_valid_challenge(""));
        assert!(!is_valid_challenge("\0\0\0"));
        assert!(!is_valid_challenge(&"x".repeat(33)));
        assert!(is_valid_challenge(&"x".repeat(32)));
        assert!(is_valid_challenge("0"));
        assert!(is_valid_challenge("défi-挑战"));
    }

    #[test]
    fn challenges_with_leading_zero_bytes_are_rejected() {
        let key = SecretKey::generate();
        let ticket = "OtQhCxGzOtQhCxGzOtQhCxGz";
        let signature = key.sign(ticket).unwrap();
        for zeros in 1..=8 {
            let same = format!("{}{ticket}", "\0".repeat(zeros));
            assert!(!is_valid_challenge(&same));
            assert!(key.sign(&same).is_none());
            assert!(!verify(&key.public(), &same, &signature));
        }
        assert!(is_valid_challenge("a\0"));
    }

    #[test]
    fn public_key_is_a_compressed_point_in_hex_of_any_case() {
        let lower = "020217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed";
        let key = PublicKey::parse(&lower.to_uppercase()).unwrap();
        assert_eq!(key.to_string(), lower);
        assert_eq!(PublicKey::parse(lower), Some(key.clone()));

        let uncompressed = encode_string(key.verifying().unwrap().to_sec1_point(false).as_bytes());
        let refused = [
            "".to_owned(),
            "zz".to_owned(),
            "00".to_owned(),
            uncompressed,
            lower[2..].to_owned(),
            format!("{lower}00"),
            format!("{lower} "),
            format!("00{}", &lower[2..]),
            format!("04{}", &lower[2..]),
            format!("05{}", &lower[2..]),
            format!("02{}", "ff".repeat(32)),
            format!("02{}", "zz".repeat(32)),
            format!("02{}", "é".repeat(32)),
            // x³ - 3x + b is no square.
            format!("02{}01", "00".repeat(31)),
        ];
        for text in refused {
            assert_eq!(PublicKey::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn secret_key_round_trips_through_hex_and_debug_hides_it() {
        let key = SecretKey::generate();
        let secret = key.to_hex();
        let again = SecretKey::from_hex(&secret.to_uppercase()).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(verify(&key.public(), "abc", &again.sign("abc").unwrap()));
        assert_eq!(secret.len(), 64);
        assert!(!format!("{key:?}").contains(&secret));

        let zero = "00".repeat(32);
        let too_large = "ff".repeat(32);
        for text in ["", "1", &zero, &too_large, &secret[2..], &"zz".repeat(32)] {
            assert!(SecretKey::from_hex(text).is_none(), "{text}");
        }
    }

    #[test]
    fn public_key_of_the_secret_number_one_is_the_generator() {
        let one = SecretKey::from_hex(&format!("{:064x}", 1)).unwrap();
        let generator = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        assert_eq!(one.public().to_string(), generator);
    }

    #[test]
    fn recorded_key_exchange_signature_verifies() {
        let key = "025b36890dacbd7c9a96bb74a1ee28b3d2d75b72e09a20ef25cf8e6fd8a9f0350d";
        let key = PublicKey::parse(key).unwrap();
        let signature = "304402202947c7ff7d90e6f8ae6c1cf2964455cbb80ccb204ebf64a9e1927ba358dd9bbe\
                         0220140b68d0ee481f8041ce1312b159ce408423b640d2e43661d75abce932c55dd2";
        assert!(verify(&key, KEY_EXCHANGE_MESSAGE, signature));
        assert!(!verify(&key, &KEY_EXCHANGE_MESSAGE[1..], signature));
    }

    #[test]
    fn every_server_generates_its_own_key() {
        let key = ServerKey::generate();
        let point = decode_vec(key.public_hex_uncompressed()).unwrap();
        assert_eq!((point.len(), point[0]), (65, 4));
        assert!(VerifyingKey::from_sec1_bytes(&point).is_ok());
        let other = ServerKey::generate();
        assert_ne!(
            key.public_hex_uncompressed(),
            other.public_hex_uncompressed()
        );
    }
}
