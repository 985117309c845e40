//! The keys that verify tokens. Each key is bound to one algorithm, so a public key never serves as an HMAC secret.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::JwtAlgorithm;

/// The least bytes of an HMAC secret (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// The bits of the modulus of an RSA key. The lower bound is that of RFC 7518, section 3.3.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one set.
const KEYS_MAX: usize = 100;

/// The keys that one token is verified with, at most. It bounds the work of a token without a key ID.
const CANDIDATES_MAX: usize = 8;

/// The OID of the curve P-256 (`prime256v1`).
const P256_OID: &str = "1.2.840.10045.3.1.7";

/// The OID of public keys on the curve Ed25519.
const ED25519_OID: &str = "1.3.101.112";

/// The reason why a key cannot be used. No text of it has a part of the key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// The HMAC secret is too short.
    #[error("the secret has {0} bytes; {SECRET_BYTES_MIN} are the least")]
    ShortSecret(usize),
    /// The modulus of the RSA key is too short or too long.
    #[error("the RSA key has {0} bits; 2048 to 8192 are allowed")]
    RsaBits(usize),
    /// The text is neither PEM nor a JWKS.
    #[error("there are neither PEM keys nor a JSON Web Key Set in it")]
    Unreadable,
    /// The set has no key that verifies tokens.
    #[error("there is no RSA, P-256 or Ed25519 public key in it")]
    NoKeys,
    /// The set is too large.
    #[error("there are {0} keys in it; {KEYS_MAX} are allowed")]
    TooMany(usize),
    /// The key has another type or curve.
    #[error("the key is neither RSA, P-256 nor Ed25519")]
    Unsupported,
    /// The key is damaged.
    #[error("the key is damaged")]
    Damaged,
    /// The key is private where a public one is expected.
    #[error("the key is private; the server needs the public one only")]
    Private,
    /// The key is public where a private one is expected.
    #[error(
        "there is no private key in it, as in a file that begins with -----BEGIN PRIVATE KEY-----"
    )]
    NotPrivate,
    /// The key is not for signatures.
    #[error("the key is not for the verification of signatures")]
    OtherUse,
}

/// The material of a key.
enum Material {
    Hmac(hmac::Key),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

/// A key that verifies the tokens of one algorithm.
pub(crate) struct VerificationKey {
    id: Option<String>,
    material: Material,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

impl VerificationKey {
    pub(crate) fn algorithm(&self) -> JwtAlgorithm {
        match self.material {
            Material::Hmac(_) => JwtAlgorithm::Hs256,
            Material::Rsa { .. } => JwtAlgorithm::Rs256,
            Material::P256(_) => JwtAlgorithm::Es256,
            Material::Ed25519(_) => JwtAlgorithm::EdDsa,
        }
    }

    /// Whether this is the signature of the message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let with = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            let key = signature::UnparsedPublicKey::new(algorithm, key);
            key.verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Rsa { modulus, exponent } => {
                let (n, e) = (modulus, exponent);
                let algorithm = &signature::RSA_PKCS1_2048_8192_SHA256;
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(algorithm, message, signature).is_ok()
            }
            Material::P256(point) => with(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::Ed25519(point) => with(&signature::ED25519, point),
        }
    }

    /// An RSA key of this modulus and exponent, both big-endian.
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, KeyError> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let first = modulus.first().copied().unwrap_or_default();
        let bits = (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        if exponent.is_empty() || exponent.len() > 4 {
            return Err(KeyError::Damaged);
        }
        Ok(Material::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    fn of_spki(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let point = &*info.subject_public_key.data;
        let algorithm = &info.algorithm;
        let curve = algorithm.parameters.as_ref();
        let curve = curve.and_then(|curve| curve.as_oid().ok());
        let material = match info.parsed().map_err(|_| KeyError::Damaged)? {
            PublicKey::RSA(key) => Self::rsa(key.modulus, key.exponent)?,
            PublicKey::EC(_) if curve.is_some_and(|curve| curve.to_id_string() == P256_OID) => {
                Self::p256(point)?
            }
            PublicKey::Unknown(_) if algorithm.algorithm.to_id_string() == ED25519_OID => {
                Self::ed25519(point)?
            }
            PublicKey::EC(_)
            | PublicKey::Unknown(_)
            | PublicKey::DSA(_)
            | PublicKey::GostR3410(_)
            | PublicKey::GostR3410_2012(_) => return Err(KeyError::Unsupported),
        };
        Ok(Self { id: None, material })
    }

    /// A key on P-256, as an uncompressed point.
    fn p256(point: &[u8]) -> Result<Material, KeyError> {
        let point = <[u8; 65]>::try_from(point).map_err(|_| KeyError::Damaged)?;
        match point[0] {
            4 => Ok(Material::P256(point)),
            _ => Err(KeyError::Damaged),
        }
    }

    fn ed25519(point: &[u8]) -> Result<Material, KeyError> {
        let point = point.try_into().map_err(|_| KeyError::Damaged)?;
        Ok(Material::Ed25519(point))
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0);
    &number[start.unwrap_or(number.len())..]
}

/// A set of keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeySet(Arc<[Arc<VerificationKey>]>);

impl KeySet {
    /// The set of one HMAC secret.
    ///
    /// # Errors
    /// `ShortSecret`.
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        let material = Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Self::of_keys(vec![VerificationKey { id: None, material }])
    }

    /// The set of a file: public keys or certificates as PEM, or a JWKS.
    ///
    /// # Errors
    /// If one of the keys cannot be used.
    pub fn of_file(text: &[u8]) -> Result<Self, KeyError> {
        match text.trim_ascii_start().first() {
            Some(b'{') => {
                let keys = jwks(text)?.into_iter().collect::<Result<_, _>>()?;
                Self::of_keys(keys)
            }
            Some(_) | None => Self::of_keys(pem(text)?),
        }
    }

    /// The usable keys of a JWKS (RFC 7517, section 5) from a server. Keys of other types and uses are ignored.
    ///
    /// # Errors
    /// If the text is no JWKS, or no key of it can be used.
    pub(crate) fn of_jwks(text: &[u8]) -> Result<Self, KeyError> {
        Self::of_keys(jwks(text)?.into_iter().flatten().collect())
    }

    fn of_keys(keys: Vec<VerificationKey>) -> Result<Self, KeyError> {
        match keys.is_empty() {
            true => Err(KeyError::NoKeys),
            false => Ok(Self(keys.into_iter().map(Arc::new).collect())),
        }
    }

    /// The algorithms of the keys.
    pub(crate) fn algorithms(&self) -> Vec<JwtAlgorithm> {
        let has = |algorithm: &JwtAlgorithm| self.0.iter().any(|key| key.algorithm() == *algorithm);
        JwtAlgorithm::ALL.into_iter().filter(has).collect()
    }

    /// The keys that may have signed a token with this algorithm and key ID. The key ID only selects: a key without
    /// one is for all tokens, and a token without one may be of every key.
    pub(crate) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
    ) -> Vec<Arc<VerificationKey>> {
        let is_named = |key: &VerificationKey| match (id, key.id.as_deref()) {
            (Some(wanted), Some(id)) => wanted == id,
            (None, _) | (_, None) => true,
        };
        let keys = self.0.iter();
        let keys = keys.filter(|key| key.algorithm() == algorithm && is_named(key));
        keys.take(CANDIDATES_MAX).cloned().collect()
    }
}

/// A JSON Web Key. Other members are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

/// The keys of a JWKS, each usable or not.
fn jwks(text: &[u8]) -> Result<Vec<Result<VerificationKey, KeyError>>, KeyError> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Value>,
    }
    let set: Jwks = serde_json::from_slice(text).map_err(|_| KeyError::Unreadable)?;
    if set.keys.len() > KEYS_MAX {
        return Err(KeyError::TooMany(set.keys.len()));
    }
    let keys = set.keys.into_iter().map(|key| {
        let jwk: Jwk = serde_json::from_value(key).map_err(|_| KeyError::Damaged)?;
        jwk.verification_key()
    });
    Ok(keys.collect())
}

impl Jwk {
    fn verification_key(self) -> Result<VerificationKey, KeyError> {
        let operations = self.key_ops.as_ref();
        let is_for_signatures = self.usage.as_ref().is_none_or(|usage| usage == "sig")
            && operations.is_none_or(|names| names.iter().any(|name| name == "verify"));
        if !is_for_signatures {
            return Err(KeyError::OtherUse);
        }
        if self.d.is_some() {
            return Err(KeyError::Private);
        }
        let material = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => VerificationKey::rsa(&octets(&self.n)?, &octets(&self.e)?)?,
            ("EC", Some("P-256")) => {
                let point = [vec![4], octets(&self.x)?, octets(&self.y)?].concat();
                VerificationKey::p256(&point)?
            }
            ("OKP", Some("Ed25519")) => VerificationKey::ed25519(&octets(&self.x)?)?,
            _ => return Err(KeyError::Unsupported),
        };
        let (id, name) = (self.kid, self.alg);
        let key = VerificationKey { id, material };
        let is_of_algorithm =
            name.is_none_or(|name| JwtAlgorithm::of_name(&name) == Some(key.algorithm()));
        is_of_algorithm.then_some(key).ok_or(KeyError::OtherUse)
    }
}

fn octets(text: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = text.as_ref().ok_or(KeyError::Damaged)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Damaged)
}

/// The public keys of a PEM text.
fn pem(text: &[u8]) -> Result<Vec<VerificationKey>, KeyError> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| KeyError::Damaged)?;
        if keys.len() == KEYS_MAX {
            return Err(KeyError::TooMany(KEYS_MAX + 1));
        }
        if kind == SectionKind::PublicKey {
            let parsed = SubjectPublicKeyInfo::from_der(&der);
            keys.push(VerificationKey::of_spki(
                &parsed.map_err(|_| KeyError::Damaged)?.1,
            )?);
        } else if kind == SectionKind::Certificate {
            let parsed = X509Certificate::from_der(&der);
            let (_, certificate) = parsed.map_err(|_| KeyError::Damaged)?;
            keys.push(VerificationKey::of_spki(certificate.public_key())?);
        } else {
            return Err(KeyError::Private);
        }
    }
    match keys.is_empty() {
        true => Err(KeyError::Unreadable),
        false => Ok(keys),
    }
}
