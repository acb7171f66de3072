//! gRPC: reads requests, checks callers, maps errors to status codes.

use std::future::Future;
use std::sync::Arc;

use chassis::auth::Caller;
use chassis::context::Context;
use chassis::grpc::RETRY_AFTER;
use chassis::metrics::Metrics;
use kernel::UserId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use proto::user::v1 as wire;
use proto::user::v1::user_service_server::UserService;
use tonic::{Request, Response, Status};

use crate::application::{BulkRange, Session, UserError, Users};
use crate::domain::{Email, Name, Password, ProfileChange, Role, User};

/// How many users are asked for in one call.
const USERS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

pub struct Handler {
    users: Arc<Users>,
    logins: Family<OutcomeLabel, Counter>,
}

impl Handler {
    pub fn new(users: Users, metrics: &Metrics) -> Self {
        let logins = Family::<OutcomeLabel, Counter>::default();
        for outcome in ["accepted", "wrong", "locked_out", "failed"] {
            // Shown as zero until it happens, so that a rate over it has a beginning.
            drop(logins.get_or_create(&OutcomeLabel { outcome }));
        }
        metrics.register(|registry| registry.register("user_logins", "Log-ins answered, by outcome", logins.clone()));
        Self { users: Arc::new(users), logins }
    }

    fn count(&self, answer: &Result<Session, UserError>) {
        let outcome = match answer {
            Ok(_) => "accepted",
            Err(UserError::WrongCredentials) => "wrong",
            Err(UserError::LockedOut(_)) => "locked_out",
            Err(_) => "failed",
        };
        self.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// Runs `work` to its end even if the caller goes away.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, UserError>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(Context::current().scope(work)).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Status::internal("the work was abandoned")),
    }
}

#[tonic::async_trait]
impl UserService for Handler {
    async fn register(&self, request: Request<wire::RegisterRequest>) -> Result<Response<wire::Session>, Status> {
        let wire::RegisterRequest { email, password, name } = request.into_inner();
        let (email, name, password) = (email_of(&email)?, name_of(name)?, password_of(password)?);
        Ok(Response::new(self.users.register(email, name, &password).await?.into()))
    }

    async fn login(&self, request: Request<wire::LoginRequest>) -> Result<Response<wire::Session>, Status> {
        let wire::LoginRequest { email, password } = request.into_inner();
        let (email, password) = (email_of(&email)?, password_of(password)?);
        let answer = self.users.login(&email, &password).await;
        self.count(&answer);
        Ok(Response::new(answer?.into()))
    }

    async fn get_user(&self, request: Request<wire::GetUserRequest>) -> Result<Response<wire::User>, Status> {
        let caller = Caller::of(&request);
        let id = id_of(&request.get_ref().id)?;
        caller.require_owner_or_staff(id)?;
        Ok(Response::new(self.users.profile(id).await?.into()))
    }

    async fn get_users(
        &self,
        request: Request<wire::GetUsersRequest>,
    ) -> Result<Response<wire::GetUsersResponse>, Status> {
        Caller::of(&request).require_staff()?;
        let ids = request.into_inner().ids;
        if ids.len() > USERS_MAX {
            return Err(invalid("ids", format_args!("at most {USERS_MAX} are expected")));
        }
        let ids = ids.iter().map(|id| id_of(id)).collect::<Result<Vec<_>, _>>()?;
        let users = self.users.profiles(ids).await?;
        Ok(Response::new(wire::GetUsersResponse { users: users.into_iter().map(Into::into).collect() }))
    }

    async fn update_profile(
        &self,
        request: Request<wire::UpdateProfileRequest>,
    ) -> Result<Response<wire::User>, Status> {
        let caller = Caller::of(&request);
        let wire::UpdateProfileRequest { id, email, name } = request.into_inner();
        let id = id_of(&id)?;
        if !matches!(caller, Caller::User { id: own, .. } if own == id) {
            caller.require_admin()?;
        }
        let wish =
            ProfileChange { email: email.as_deref().map(email_of).transpose()?, name: name.map(name_of).transpose()? };
        let users = self.users.clone();
        let user = to_its_end(async move { users.update(id, wish).await }).await?;
        Ok(Response::new(user.into()))
    }

    async fn change_role(&self, request: Request<wire::ChangeRoleRequest>) -> Result<Response<wire::User>, Status> {
        let caller = Caller::of(&request);
        caller.require_admin()?;
        let wire::ChangeRoleRequest { id, role } = request.into_inner();
        let (id, role) = (id_of(&id)?, role_of(&role)?);
        let by = caller.require_user()?;
        if by == id {
            return Err(Status::failed_precondition("nobody changes their own role: another admin has to"));
        }
        let users = self.users.clone();
        let user = to_its_end(async move { users.assign(by, id, role).await }).await?;
        Ok(Response::new(user.into()))
    }

    async fn register_bulk(
        &self,
        request: Request<wire::RegisterBulkRequest>,
    ) -> Result<Response<wire::RegisterBulkResponse>, Status> {
        Caller::of(&request).require_admin()?;
        let range = BulkRange::try_from(request.into_inner())?;
        let sessions = self.users.register_bulk(range).await?;
        Ok(Response::new(wire::RegisterBulkResponse { sessions: sessions.into_iter().map(Into::into).collect() }))
    }
}

fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {why}"))
}

fn id_of(text: &str) -> Result<UserId, Status> {
    text.parse().map_err(|error| invalid("id", error))
}

/// A service is no account.
fn role_of(text: &str) -> Result<Role, Status> {
    match text.parse().map_err(|error| invalid("role", error))? {
        Role::Service => Err(invalid("role", "customer, staff or admin is expected")),
        role => Ok(role),
    }
}

fn email_of(text: &str) -> Result<Email, Status> {
    text.parse().map_err(|error| invalid("email", error))
}

fn name_of(text: String) -> Result<Name, Status> {
    text.try_into().map_err(|error| invalid("name", error))
}

/// Only the bounds that hold at log-in too; the policy for new passwords is the use case's.
fn password_of(text: String) -> Result<Password, Status> {
    let password = Password::from(text);
    if !(1..=Password::CHARS_MAX).contains(&password.chars()) {
        return Err(invalid("password", format_args!("1 to {} characters are expected", Password::CHARS_MAX)));
    }
    Ok(password)
}

impl TryFrom<wire::RegisterBulkRequest> for BulkRange {
    type Error = Status;
    fn try_from(request: wire::RegisterBulkRequest) -> Result<Self, Status> {
        let wire::RegisterBulkRequest { prefix, first, count } = request;
        if !(1..=Self::COUNT_MAX).contains(&count) {
            return Err(invalid("count", format_args!("1 to {} are expected", Self::COUNT_MAX)));
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !(1..=32).contains(&prefix.len()) || !prefix.bytes().all(allowed) {
            return Err(invalid("prefix", "1 to 32 characters out of a–z 0–9 . _ - are expected"));
        }
        let end = first.checked_add(count).ok_or_else(|| invalid("first", "the numbers run over"))?;
        let buyers = (first..end)
            .map(|number| {
                let name = format!("{prefix}-{number}");
                Ok((email_of(&format!("{name}@example.test"))?, name_of(name)?))
            })
            .collect::<Result<_, Status>>()?;
        Ok(Self { buyers })
    }
}

impl From<User> for wire::User {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.into(),
            name: user.name.into(),
            role: user.role.as_str().to_owned(),
            created_at_us: user.created_at.as_micros(),
        }
    }
}

impl From<Session> for wire::Session {
    fn from(session: Session) -> Self {
        Self { user: Some(session.user.into()), token: session.token, expires_at_us: session.expires_at.as_micros() }
    }
}

impl From<UserError> for Status {
    fn from(error: UserError) -> Self {
        let text = error.to_string();
        match error {
            UserError::EmailTaken => Self::already_exists(text),
            UserError::WrongCredentials => Self::unauthenticated(text),
            UserError::LockedOut(locked) => {
                let mut status = Self::resource_exhausted(text);
                status.metadata_mut().insert(RETRY_AFTER, locked.retry_after_s().into());
                status
            }
            UserError::NoSuchUser(_) => Self::not_found(text),
            UserError::NoAdminNow => Self::permission_denied(text),
            UserError::Password(_) => Self::invalid_argument(text),
            UserError::Hash(_) => {
                tracing::error!(error = text);
                Self::internal("passwords cannot be checked at present")
            }
            UserError::Store(error) => error.into(),
        }
    }
}
