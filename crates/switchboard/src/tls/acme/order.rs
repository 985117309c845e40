//! One order of a certificate.

use instant_acme::{
    Account, AuthorizationStatus, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::{
    AcmeChallenges, AcmeConfig, AcmeError, AcmeStore, challenges::ChallengeKind, http::AcmeClient,
};

/// The problem of a request with an account that the ACME server does not know, as after its data was lost.
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// A client of an ACME server.
pub(super) struct OrderClient<'a> {
    pub(super) config: &'a AcmeConfig,
    pub(super) store: &'a AcmeStore,
    pub(super) challenges: &'a AcmeChallenges,
}

impl OrderClient<'_> {
    /// Obtains a certificate by challenges of this kind. Returns its chain and its key in PEM.
    pub(super) async fn obtain(&self, kind: ChallengeKind) -> Result<(String, String), AcmeError> {
        let mut order = self.new_order().await?;
        let _pending = self.challenges.begin();
        self.answer_challenges(&mut order, kind).await?;
        let policy = RetryPolicy::default();
        await_ready(&mut order, &policy).await?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.config.domains.clone())?;
        params.distinguished_name = DistinguishedName::new();
        order
            .finalize_csr(params.serialize_request(&key)?.der())
            .await?;
        let chain = order.poll_certificate(&policy).await?;
        Ok((chain, key.serialize_pem()))
    }

    async fn new_order(&self) -> Result<Order, AcmeError> {
        let names = self.config.domains.iter().cloned();
        let identifiers: Vec<_> = names.map(Identifier::Dns).collect();
        let new_order = NewOrder::new(&identifiers);
        let (account, is_new) = self.account().await?;
        match account.new_order(&new_order).await {
            Err(error) if !is_new && is_unknown_account(&error) => {
                let account = self.create_account().await?;
                Ok(account.new_order(&new_order).await?)
            }
            ordered => Ok(ordered?),
        }
    }

    /// The stored account, or a new one. Also returns whether it is new.
    async fn account(&self) -> Result<(Account, bool), AcmeError> {
        if let Some(credentials) = self.store.account() {
            let builder = Account::builder_with_http(self.http()?);
            return Ok((builder.from_credentials(credentials).await?, false));
        }
        Ok((self.create_account().await?, true))
    }

    async fn create_account(&self) -> Result<Account, AcmeError> {
        let mail = format!("mailto:{}", self.config.email);
        let contact = [mail.as_str()];
        let new = NewAccount {
            contact: if self.config.email.is_empty() {
                &[]
            } else {
                &contact
            },
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(self.http()?);
        let directory = self.config.directory.clone();
        let (account, credentials) = builder.create(&new, directory, None).await?;
        self.store.save_account(&credentials)?;
        Ok(account)
    }

    fn http(&self) -> Result<Box<AcmeClient>, AcmeError> {
        AcmeClient::new(self.config).map(Box::new)
    }

    /// Prepares the answers to the challenges of the names that are not verified yet, and lets the ACME server look.
    async fn answer_challenges(
        &self,
        order: &mut Order,
        kind: ChallengeKind,
    ) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(kind.challenge_type()) else {
                let kind = kind.name();
                return Err(AcmeError::NoChallenge { domain, kind });
            };
            let answer = challenge.key_authorization();
            self.challenges
                .prepare(kind, &domain, &challenge.token, &answer)?;
            challenge.set_ready().await?;
        }
        Ok(())
    }
}

fn is_unknown_account(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Api(problem) = error else {
        return false;
    };
    problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT)
}

/// Waits until the ACME server has verified the names.
async fn await_ready(order: &mut Order, policy: &RetryPolicy) -> Result<(), AcmeError> {
    match order.poll_ready(policy).await {
        Ok(OrderStatus::Invalid) => Err(not_verified(order, None).await),
        Ok(_) => Ok(()),
        Err(instant_acme::Error::Api(problem)) => {
            let problem = problem.to_string();
            Err(not_verified(order, Some(problem)).await)
        }
        Err(other) => Err(other.into()),
    }
}

/// The name that the ACME server could not verify, with its reason. `problem` is that of the whole order.
async fn not_verified(order: &mut Order, problem: Option<String>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Err(error) = authorization.refresh().await {
            return error.into();
        }
        let challenges = authorization.challenges.iter();
        let mut problems = challenges.filter_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problems.next() {
            return AcmeError::NotVerified {
                domain: authorization.identifier().to_string(),
                detail: problem.to_string(),
            };
        }
    }
    AcmeError::NotVerified {
        domain: "the names".to_owned(),
        detail: problem.unwrap_or_else(|| "no reason given".to_owned()),
    }
}
