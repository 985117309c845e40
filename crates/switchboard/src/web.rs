//! The embedded call page and voice page.

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../web"]
#[exclude = "*.json"]
#[exclude = "*.d.ts"]
struct Page;

/// The Content-Security-Policy of the pages: they may use files of this origin, received and captured media (`blob:`),
/// and WebSockets.
pub(crate) const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'";

/// The value of `X-Content-Type-Options`: a browser must not take a file for another type than it is served as.
pub(crate) const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");

/// Serves the embedded pages: the call page at `/`, the voice page at `/voice`.
pub(crate) fn serve_page<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let files = Page::iter().filter(|file| !file.starts_with(CONSOLE));
    files.fold(
        router.route("/", get(page)).route("/voice", get(page)),
        |router, file| router.route(&format!("/{file}"), get(page)),
    )
}

/// The folder of the console, which is served on the internal listener only.
const CONSOLE: &str = "console/";

/// The Content-Security-Policy of the console: it uses files and the API of its own origin, and nothing else.
const CONSOLE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Serves the console at `/console`, if its files are there.
pub(crate) fn serve_console(router: Router) -> Router {
    let files: Vec<_> = Page::iter()
        .filter(|file| file.starts_with(CONSOLE))
        .collect();
    if files.is_empty() {
        return router;
    }
    let to_folder = async || Redirect::permanent("/console/");
    let router = router
        .route("/console", get(to_folder))
        .route("/console/", get(console));
    files.iter().fold(router, |router, file| {
        router.route(&format!("/{file}"), get(console))
    })
}

async fn console(uri: axum::extract::OriginalUri, request: Request) -> Response {
    let mut response = page(uri, request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONSOLE_POLICY);
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

async fn page(uri: axum::extract::OriginalUri, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let base = path.is_empty().then(|| base_tag(&uri)).flatten();
    let path = match path {
        "" => "index.html",
        "voice" => "voice.html",
        "console/" => "console/index.html",
        path => path,
    };
    let Some(file) = Page::get(path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let hash = base16ct::lower::encode_string(&file.metadata.sha256_hash()[..16]);
    // The page with a `<base>` has other bytes, so it has another ETag.
    let tag = format!("\"{hash}{}\"", if base.is_some() { "b" } else { "" });
    if request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::ETAG, HeaderValue::from_str(&tag).ok()),
        (
            header::CACHE_CONTROL,
            Some(HeaderValue::from_static("no-cache")),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            Some(HeaderValue::from_static(POLICY)),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, Some(NO_SNIFFING)),
    ];
    let mut response = match base {
        Some(base) => String::from_utf8_lossy(&file.data)
            .replacen("<head>", &base, 1)
            .into_response(),
        None => file.data.into_response(),
    };
    for (name, value) in headers {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn content_type(path: &str) -> Option<HeaderValue> {
    let kind = match path.ends_with("LICENSE") {
        true => mime_guess::mime::TEXT_PLAIN,
        false => mime_guess::from_path(path).first_or_octet_stream(),
    };
    let charset = if kind.type_() == "text" {
        "; charset=utf-8"
    } else {
        ""
    };
    HeaderValue::from_str(&format!("{kind}{charset}")).ok()
}

/// The `<head>` with a `<base>`, for a router that is nested at a path and a request for that path without a slash at
/// the end. Without it, the relative links of the page would resolve to the parent folder.
fn base_tag(uri: &Uri) -> Option<String> {
    let last = uri
        .path()
        .rsplit('/')
        .next()
        .filter(|last| !last.is_empty())?;
    let last: String = last
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-._~%".contains(*c))
        .collect();
    Some(format!("<head><base href=\"{last}/\">"))
}

/// Whether the server answers a path itself, so that no dialect can have it.
pub(crate) fn is_reserved_path(path: &str) -> bool {
    let reserved = [
        "/",
        "/voice",
        "/healthz",
        "/readyz",
        "/metrics",
        "/ice-servers",
        crate::admin::NODE_CALLS_PATH,
    ];
    reserved.contains(&path)
        || switchboard_voice::is_reserved_path(path)
        || Page::get(path.trim_start_matches('/')).is_some()
}
