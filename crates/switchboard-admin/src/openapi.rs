//! The OpenAPI description of the API.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        self, ContentBuilder, HttpMethod, PathItem, Ref, Required, ResponseBuilder,
        path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    bans::{Ban, BanTarget},
    error::{ApiError, ApiErrorCode},
    events::{AdminEvent, EventKind},
    requests::{
        BanRequest, CloseRequest, KickRequest, LockRequest, MessageRequest, RoomQuery, SessionQuery,
    },
    router::PATH,
    types::{
        BanList, MemberInfo, NodeFailure, NodeInfo, NodeList, NodeState, Outcome, RoomDetail,
        RoomPage, RoomRef, RoomSummary, SessionDetail, SessionPage, SessionSummary, Settings,
        VoiceCallInfo, VoiceOverview, VoiceRoomInfo, VoiceUserInfo,
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchboard admin API",
        description = "Nodes, rooms, sessions, bans and live events of a whole cluster. Every call needs a token with the grant `admin`; for calls about one room, `moderate` in that room suffices."
    ),
    components(schemas(
        AdminEvent,
        ApiError,
        Ban,
        BanList,
        BanRequest,
        BanTarget,
        CloseRequest,
        ApiErrorCode,
        EventKind,
        KickRequest,
        LockRequest,
        MemberInfo,
        MessageRequest,
        NodeFailure,
        NodeInfo,
        NodeList,
        NodeState,
        Outcome,
        RoomDetail,
        RoomPage,
        RoomRef,
        RoomSummary,
        SessionDetail,
        SessionPage,
        SessionSummary,
        Settings,
        VoiceCallInfo,
        VoiceOverview,
        VoiceRoomInfo,
        VoiceUserInfo
    ))
)]
struct Description;

/// The name of the security scheme.
const TOKEN: &str = "token";

/// A call of the API.
struct Operation {
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: fn() -> Vec<Parameter>,
    /// The schema of the body.
    body: Option<&'static str>,
    /// The schema of the answer; `None` for a stream of events.
    answer: Option<&'static str>,
    /// The errors, in addition to 401, 403 and 429.
    errors: &'static [&'static str],
}

const fn read(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answer: &'static str,
) -> Operation {
    Operation {
        method: HttpMethod::Get,
        path,
        id,
        summary,
        parameters: Vec::new,
        body: None,
        answer: Some(answer),
        errors: &[],
    }
}

const fn order(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: &'static str,
) -> Operation {
    Operation {
        method: HttpMethod::Post,
        body: Some(body),
        errors: &["400", "404", "409", "503"],
        ..read(path, id, summary, "Outcome")
    }
}

fn operations() -> Vec<Operation> {
    let of_id = |operation: Operation| Operation {
        parameters: || vec![id_parameter()],
        errors: &["400", "404", "503"],
        ..operation
    };
    vec![
        read(
            "/nodes",
            "nodes",
            "The nodes of the cluster, with their states",
            "NodeList",
        ),
        Operation {
            method: HttpMethod::Post,
            ..of_id(read(
                "/nodes/{id}/drain",
                "drain",
                "Begin to drain a node: its /readyz answers 503",
                "Outcome",
            ))
        },
        Operation {
            method: HttpMethod::Delete,
            ..of_id(read(
                "/nodes/{id}/drain",
                "undrain",
                "End the drain of a node",
                "Outcome",
            ))
        },
        Operation {
            parameters: || query::<RoomQuery>(),
            errors: &["400"],
            ..read("/rooms", "rooms", "The rooms, in pages", "RoomPage")
        },
        Operation {
            parameters: || query::<RoomRef>(),
            errors: &["400", "404"],
            ..read("/room", "room", "One room with its members", "RoomDetail")
        },
        order(
            "/room/close",
            "close",
            "Close a room: end the sessions of its members",
            "CloseRequest",
        ),
        order("/room/lock", "lock", "Lock or unlock a room", "LockRequest"),
        order(
            "/room/message",
            "message",
            "Send a message of the server to a room",
            "MessageRequest",
        ),
        Operation {
            parameters: || query::<SessionQuery>(),
            errors: &["400"],
            ..read(
                "/sessions",
                "sessions",
                "The sessions, in pages",
                "SessionPage",
            )
        },
        of_id(read(
            "/sessions/{id}",
            "session",
            "One session and its recent events",
            "SessionDetail",
        )),
        read(
            "/voice",
            "voice",
            "The voice calls and voice rooms",
            "VoiceOverview",
        ),
        order("/kick", "kick", "End sessions", "KickRequest"),
        read("/bans", "bans", "The bans in force", "BanList"),
        order(
            "/bans",
            "ban",
            "Ban clients, and end their sessions",
            "BanRequest",
        ),
        Operation {
            method: HttpMethod::Delete,
            ..of_id(read("/bans/{id}", "unban", "Remove a ban", "Outcome"))
        },
        Operation {
            parameters: || vec![last_event_id()],
            answer: None,
            errors: &["400", "409"],
            ..read(
                "/events",
                "events",
                "The live events, as server-sent events",
                "",
            )
        },
        read(
            "/settings",
            "settings",
            "The settings of the node that answers, without secrets",
            "Settings",
        ),
    ]
}

/// The OpenAPI description of the API.
#[must_use]
pub fn description() -> openapi::OpenApi {
    let mut description = Description::openapi();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme.build()));
    for operation in operations() {
        let path = format!("{PATH}{}", operation.path);
        let described = describe(&operation);
        let method = operation.method;
        let item = PathItem::new(method, described);
        match description.paths.paths.get_mut(&path) {
            Some(known) => known.merge_operations(item),
            None => {
                description.paths.paths.insert(path, item);
            }
        }
    }
    description
}

fn describe(operation: &Operation) -> openapi::path::Operation {
    let no_scopes: [&str; 0] = [];
    let mut described = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .summary(Some(operation.summary))
        .parameters(Some((operation.parameters)()))
        .security(SecurityRequirement::new(TOKEN, no_scopes))
        .response("200", answer(operation.answer));
    for status in ["401", "403", "413", "429"].iter().chain(operation.errors) {
        let error = content("ApiError");
        let response = ResponseBuilder::new().description("An error");
        described = described.response(*status, response.content("application/json", error));
    }
    let too_long = ResponseBuilder::new().description("The head of the request is too long");
    described = described.response("431", too_long);
    if let Some(body) = operation.body {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(body))
            .required(Some(Required::True));
        described = described.request_body(Some(body.build()));
    }
    described.build()
}

fn answer(schema: Option<&str>) -> openapi::Response {
    let response = ResponseBuilder::new();
    let response = match schema {
        Some(schema) => response
            .description("The answer")
            .content("application/json", content(schema)),
        None => response
            .description("Events, each with the type of its `AdminEvent` as `event`")
            .content("text/event-stream", ContentBuilder::new().build()),
    };
    response.build()
}

fn content(schema: &str) -> openapi::Content {
    let schema = Ref::from_schema_name(schema);
    ContentBuilder::new().schema(Some(schema)).build()
}

fn query<T: utoipa::IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

fn id_parameter() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1));
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(schema.max_length(Some(128))))
        .build()
}

fn last_event_id() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[0-9a-f]{16}\\.[0-9]{1,15}$"));
    ParameterBuilder::new()
        .name("Last-Event-ID")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The `id` of the last event that was read"))
        .schema(Some(schema))
        .build()
}

/// Answers `/openapi.json`. It has no data of the server, and needs no token.
pub(crate) async fn answer_description() -> Response {
    Json(description()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described() {
        let json = serde_json::to_value(description()).expect("JSON");
        let paths = json["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), 15);
        let drain = &paths["/admin/v1/nodes/{id}/drain"];
        assert!(drain["post"].is_object() && drain["delete"].is_object());
        assert_eq!(
            json["components"]["securitySchemes"]["token"]["scheme"],
            "bearer"
        );
        let references = json.to_string();
        for part in references.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("a name");
            assert!(json["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
