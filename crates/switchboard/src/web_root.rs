//! The operator's folder that is served at `/` in place of the pages.
//!
//! The folder may hold files that are not for visitors (`.git`, `.env`), and links that lead out of it. A request for one
//! of these gets the same 404 as a request for a missing file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::fs::{Backend, ServeDir, TokioBackend, TokioFile};

use crate::web;

/// Maximum bytes of a requested path before it is decoded. A longer one is not looked up.
const PATH_BYTES_MAX: usize = 1024;

/// The only folder with a leading dot that is served, and only in the root (RFC 8615).
const WELL_KNOWN: &str = ".well-known/";

/// Serves the files of a folder at `/`, with the security headers of the pages. `policy` is their
/// Content-Security-Policy; empty for none.
pub(crate) fn serve_folder<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    root: &Path,
    policy: &str,
) -> Router<S> {
    let folder = WebRoot {
        root: root.to_owned(),
    };
    let files = ServeDir::with_backend(root, folder);
    let policy = HeaderValue::from_str(policy).ok();
    let policy = policy.filter(|policy| !policy.is_empty());
    router.fallback(move |request: Request| {
        let (files, policy) = (files.clone(), policy.clone());
        async move {
            let mut response = answer(files, request).await;
            let headers = response.headers_mut();
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, web::NO_SNIFFING);
            policy.map(|policy| headers.insert(header::CONTENT_SECURITY_POLICY, policy));
            response
        }
    })
}

async fn answer(
    files: ServeDir<tower_http::services::fs::DefaultServeDirFallback, WebRoot>,
    request: Request,
) -> Response {
    if !is_public(request.uri().path()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match files.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// Whether a file of this path may be served: no part of the path is empty or begins with a dot. An empty part would
/// make the redirect to `//NAME/` lead to another host.
fn is_public(path: &str) -> bool {
    if path.len() > PATH_BYTES_MAX {
        return false;
    }
    let Ok(path) = percent_decode_str(path).decode_utf8() else {
        return false;
    };
    if path.contains(|c: char| c.is_control() || c == '\\') {
        return false;
    }
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let path = path.strip_prefix(WELL_KNOWN).unwrap_or(path);
    let folder = path.strip_suffix('/').unwrap_or(path);
    folder.is_empty()
        || folder
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// Opens only regular files within the folder.
#[derive(Clone, Debug)]
struct WebRoot {
    root: PathBuf,
}

impl WebRoot {
    /// Resolves the links of a path. The root is resolved too, each time: it may be a link to the current release.
    ///
    /// # Errors
    /// `NotFound` if the file is missing, or outside the root.
    fn resolve(&self, path: &Path) -> io::Result<(PathBuf, fs::Metadata)> {
        // A name that is too long and a loop of links are missing files too.
        let missing = |error| {
            tracing::debug!(path = %path.display(), %error, "file of the web root not found");
            io::Error::from(io::ErrorKind::NotFound)
        };
        let resolved = fs::canonicalize(path).map_err(missing)?;
        let root = fs::canonicalize(&self.root).map_err(missing)?;
        let metadata = fs::metadata(&resolved).map_err(missing)?;
        let is_within = resolved.starts_with(root);
        // Opening a pipe would wait for a writer, and a device may have no end.
        if is_within && (metadata.is_file() || metadata.is_dir()) {
            Ok((resolved, metadata))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl Backend for WebRoot {
    type File = TokioFile;
    type Metadata = fs::Metadata;
    type OpenFuture = BoxFuture<'static, io::Result<TokioFile>>;
    type MetadataFuture = BoxFuture<'static, io::Result<fs::Metadata>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let folder = self.clone();
        Box::pin(async move {
            let (resolved, metadata) = blocking(move || folder.resolve(&path)).await?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            TokioBackend.open(resolved).await
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let folder = self.clone();
        Box::pin(async move {
            let (_, metadata) = blocking(move || folder.resolve(&path)).await?;
            Ok(metadata)
        })
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_with_a_hidden_part_is_public() {
        for path in [
            "/",
            "/index.html",
            "/a/b.c/",
            "/.well-known/security.txt",
            "/.well-known/",
            "/a%20b",
            "/%252e%252e/x",
            "/a..b/c.",
        ] {
            assert!(is_public(path), "{path}");
        }
        for path in [
            "",
            "a",
            "*",
            "//a",
            "/a//b",
            "/a//",
            "/.env",
            "/.git/config",
            "/a/.git/config",
            "/%2egit/config",
            "/%2Egit/config",
            "/a%2f.git%2fconfig",
            "/a/%2e%2e/b",
            "/..",
            "/../etc/passwd",
            "/%2e%2e%2fetc/passwd",
            "/..%2fetc%2fpasswd",
            "/..\\etc",
            "/..%5cetc",
            "/.",
            "/a/.",
            "/.well-known",
            "/.well-known/.secret",
            "/a/.well-known/b",
            "/.well-known/../.env",
            "/a%00.html",
            "/a%0d%0ab",
            "/%ff",
            "/%c0%ae%c0%ae/x",
        ] {
            assert!(!is_public(path), "{path}");
        }
        assert!(is_public(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1))));
        assert!(!is_public(&format!("/{}", "a".repeat(PATH_BYTES_MAX))));
    }
}
