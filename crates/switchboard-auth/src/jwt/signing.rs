//! The keys that sign tokens, for `switchboard token create` and for programs that embed the server.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};

use super::{JwtAlgorithm, KeyError, KeySet, SECRET_BYTES_MIN};

/// The HMAC secret of the settings, which signs and verifies tokens.
#[derive(Clone)]
pub struct JwtSecret(Arc<str>);

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret")
    }
}

impl JwtSecret {
    /// The secret of this text.
    ///
    /// # Errors
    /// `ShortSecret`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        SigningKey::of_secret(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The key that signs with it.
    ///
    /// # Errors
    /// None: the secret is long enough.
    pub fn signing_key(&self) -> Result<SigningKey, KeyError> {
        SigningKey::of_secret(self.0.as_bytes())
    }

    /// The key that verifies with it.
    pub(crate) fn keys(&self) -> Result<KeySet, KeyError> {
        KeySet::of_secret(self.0.as_bytes())
    }
}

/// A key that signs tokens.
pub struct SigningKey(Signer);

enum Signer {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.algorithm())
            .finish()
    }
}

impl SigningKey {
    /// The key of an HMAC secret.
    ///
    /// # Errors
    /// `ShortSecret`.
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        match secret.len() < SECRET_BYTES_MIN {
            true => Err(KeyError::ShortSecret(secret.len())),
            false => Ok(Self(Signer::Hmac(hmac::Key::new(
                hmac::HMAC_SHA256,
                secret,
            )))),
        }
    }

    /// The private key of a PEM file: RSA, P-256 or Ed25519, as PKCS#8, or RSA as PKCS#1.
    ///
    /// # Errors
    /// If there is none in it, or if it cannot be used.
    pub fn of_pem(text: &[u8]) -> Result<Self, KeyError> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|_| KeyError::Damaged)?;
            if kind == SectionKind::PrivateKey {
                return Self::of_pkcs8(&der);
            } else if kind == SectionKind::RsaPrivateKey {
                return Self::of_rsa(RsaKeyPair::from_der(&der));
            }
        }
        Err(KeyError::NotPrivate)
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self(Signer::Ed25519(Box::new(key))));
        }
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()) {
            return Ok(Self(Signer::P256(Box::new(key))));
        }
        Self::of_rsa(RsaKeyPair::from_pkcs8(der))
    }

    fn of_rsa(key: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<Self, KeyError> {
        let key = key.map_err(|_| KeyError::Unsupported)?;
        Ok(Self(Signer::Rsa(Box::new(key))))
    }

    /// The algorithm of its tokens.
    #[must_use]
    pub fn algorithm(&self) -> JwtAlgorithm {
        match self.0 {
            Signer::Hmac(_) => JwtAlgorithm::Hs256,
            Signer::Rsa(_) => JwtAlgorithm::Rs256,
            Signer::P256(_) => JwtAlgorithm::Es256,
            Signer::Ed25519(_) => JwtAlgorithm::EdDsa,
        }
    }

    /// A token with these claims, and with this key ID in its header.
    ///
    /// # Errors
    /// `Damaged`, if the key cannot sign.
    pub fn token(&self, id: Option<&str>, claims: &Value) -> Result<String, KeyError> {
        let mut header = json!({ "alg": self.algorithm().as_str(), "typ": "JWT" });
        if let Some(id) = id {
            header["kid"] = id.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let damaged = |_| KeyError::Damaged;
        match &self.0 {
            Signer::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature).map_err(damaged)
            }
            Signer::P256(key) => {
                let signature = key.sign(&random, message).map_err(damaged)?;
                Ok(signature.as_ref().to_vec())
            }
            Signer::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}
