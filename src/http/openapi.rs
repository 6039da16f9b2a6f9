//! The API's description, made from the handlers and types themselves.
//!
//! In: nothing. Out: an OpenAPI document. Never: a route that is not in it, or one in it that is not there; a test
//! compares it with the routers.

use super::AppState;
use super::{
    api, events, latency, log, media, monitoring, panel, passwords, quality, recordings, sessions, steering, whep,
};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/openapi.json", get(document))
}

/// This document. Needs no sign-in.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "everybody",
    responses((status = 200, description = "The description of the API")),
    security(())
)]
pub(super) async fn document() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(Description::openapi())).into_response()
}

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Duplex",
        description = "Every answer that is not a success has the body `ApiError`. Times are the device's clock's. \
            Requests from a page must come from the device's own origin.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    modifiers(&Sign),
    security(("session" = []), ("token" = [])),
    tags(
        (name = "everybody", description = "What needs no sign-in"),
        (name = "call", description = "What the page needs for a call"),
        (name = "owner", description = "The owner's panel"),
        (name = "watch", description = "For programs that watch over the service")
    ),
    paths(
        document,
        api::status,
        api::sign_in,
        api::sign_out,
        api::setup,
        api::talk,
        api::release,
        events::events,
        whep::play,
        whep::leave,
        quality::choose,
        latency::shown,
        panel::device,
        panel::devices,
        panel::certificate,
        panel::configuration,
        sessions::list,
        sessions::end,
        passwords::passwords,
        passwords::set_password,
        passwords::remove_password,
        steering::present,
        steering::change,
        media::snapshot,
        media::still,
        media::say,
        media::clips,
        media::play_clip,
        media::end_announcements,
        recordings::recording,
        recordings::record,
        recordings::list_recordings,
        recordings::recording_file,
        recordings::delete_recording,
        log::log,
        log::log_events,
        monitoring::healthz,
        monitoring::metrics
    ),
    components(schemas(crate::api::ApiError))
)]
pub(super) struct Description;

/// How a caller shows who he is, and what every refusal looks like.
struct Sign;

/// Says what each answer means, and adds the refusals that every operation behind a sign-in has.
fn complete(operation: &mut Operation) {
    let open = operation.security.is_some();
    let answers = &mut operation.responses.responses;
    for refusal in ["401", "403"].into_iter().filter(|_| !open) {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ApiError"))).build();
        let refused = ResponseBuilder::new().content("application/json", body).build();
        answers.entry(refusal.to_owned()).or_insert_with(|| RefOr::T(refused));
    }
    for (status, answer) in answers {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            answer.description = meaning(status).to_owned();
        }
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "What was asked for.",
        "201" => "Made; `Location` says where.",
        "204" => "Done.",
        "206" => "The part that was asked for.",
        "400" => "The request is not of the form that is taken.",
        "401" => "Whoever asks is not known: the sign-in, the code or the token is missing or wrong.",
        "403" => "Whoever asks is known and may not.",
        "404" => "There is no such thing, or it is not the caller's.",
        "406" => "What is offered does not fit what the device has.",
        "409" => "Not in the present state of things.",
        "413" => "Too large.",
        "415" => "Of another content type than what is taken.",
        "416" => "The file has no such part.",
        "422" => "The request is understood and breaks a rule.",
        "429" => "Too often; `Retry-After` says how long to wait.",
        "503" => "Not in the state it should be in.",
        _ => "The service failed; its log says why.",
    }
}

impl Modify for Sign {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete] {
                operation.iter_mut().for_each(complete);
            }
        }
        let components = document.components.get_or_insert_default();
        let cookie = ApiKeyValue::with_description("__Host-duplex", "Set by `sign-in`; `duplex` over plain HTTP.");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("From `duplex token new`; never opens the owner's panel."))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}
