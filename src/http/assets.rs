//! The page and its files.
//!
//! In: a path. Out: a file from the binary, or from the folder `web-app` of the configuration.
//! Never: anything outside of that; lists of folders; hidden files.

use super::AppState;
use super::denied::Denied;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tracing::error;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Where the files are.
pub enum Page {
    /// In the binary, with the entity tags they have.
    Embedded(HashMap<&'static str, (&'static [u8], HeaderValue)>),
    /// In a folder, read anew for each request, for those who work on the page.
    Folder(PathBuf),
}

impl Page {
    /// The page in `folder`, or the one in the binary.
    pub fn new(folder: Option<PathBuf>) -> Self {
        folder.map_or_else(|| Self::embedded(FILES), Self::Folder)
    }

    fn embedded(files: &'static [(&'static str, &'static [u8])]) -> Self {
        Self::Embedded(files.iter().map(|(name, bytes)| (*name, (*bytes, tag(bytes)))).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<(Vec<u8>, HeaderValue)>, Denied> {
        match self {
            Self::Embedded(files) => Ok(files.get(name).map(|(bytes, tag)| (bytes.to_vec(), tag.clone()))),
            Self::Folder(folder) => Ok(read(folder, name).await?.map(|bytes| {
                let tag = tag(&bytes);
                (bytes, tag)
            })),
        }
    }
}

/// Answers with the file at the request's path.
pub async fn asset(State(state): State<AppState>, request: Request) -> Result<Response, Denied> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Denied::method());
    }
    let path = request.uri().path();
    let Some(name) = file_name(path) else { return Err(Denied::not_found()) };
    if let Some((bytes, tag)) = state.page.find(&name).await? {
        return Ok(file(&name, bytes, tag, request.headers()));
    }
    if name == "index.html" {
        return Ok((StatusCode::SERVICE_UNAVAILABLE, Html(UNBUILT)).into_response());
    }
    // Relative addresses in a page need the slash.
    if state.page.find(&format!("{name}/index.html")).await?.is_some() {
        return Ok(Redirect::permanent(&format!("{path}/")).into_response());
    }
    Err(Denied::not_found())
}

/// One file of the page in the binary, for who serves nothing else of it.
pub fn embedded(name: &str) -> Result<Response, Denied> {
    let found = FILES.iter().find(|(known, _)| *known == name).ok_or_else(Denied::not_found)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)))], found.1).into_response())
}

/// The file a path stands for. Names are plain ASCII without escapes, so nothing can hide in one.
fn file_name(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+@".contains(&byte))
    };
    let (parts, folder) = match path.strip_suffix('/') {
        Some(parts) => (parts, true),
        None => (path, path.is_empty()),
    };
    if !parts.is_empty() && !parts.split('/').all(plain) {
        return None;
    }
    match (parts, folder) {
        ("", _) => (path.is_empty()).then(|| "index.html".to_owned()),
        (parts, true) => Some(format!("{parts}/index.html")),
        (parts, false) => Some(parts.to_owned()),
    }
}

async fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Denied> {
    let found = async {
        let folder = tokio::fs::canonicalize(folder).await?;
        let path = tokio::fs::canonicalize(folder.join(name)).await?;
        // A link may lead out of the folder; what is out there was not offered.
        if !path.starts_with(&folder) || !tokio::fs::metadata(&path).await?.is_file() {
            return Ok(None);
        }
        tokio::fs::read(path).await.map(Some)
    };
    match found.await {
        Ok(bytes) => Ok(bytes),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
        Err(error) => {
            error!(name, %error, "a file of the page cannot be read");
            Err(Denied::failed())
        }
    }
}

fn file(name: &str, bytes: Vec<u8>, tag: HeaderValue, request: &HeaderMap) -> Response {
    // The build puts a hash of the content into the names in there.
    let caching = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(caching)), (header::ETAG, tag.clone())];
    let same = request.get_all(header::IF_NONE_MATCH).iter().any(|known| knows(known, &tag));
    if same {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)))], bytes).into_response()
}

fn knows(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let digest: String = Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/vnd.microsoft.icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

const UNBUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Duplex</title>\
    <h1>The page is not in this build</h1>\
    <p>The service runs, but it was built without its web app. Build that first, then the service again:</p>\
    <pre>npm --prefix web-app ci\nnpm --prefix web-app run build\ncargo build --release</pre>\
    <p>Or point the running service to a built one with <code>--web-app web-app/dist</code>.</p></html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names() {
        for (path, name) in [
            ("/", "index.html"),
            ("/index.html", "index.html"),
            ("/assets/index-Cn_k.js", "assets/index-Cn_k.js"),
            ("/gstwebrtc-api/", "gstwebrtc-api/index.html"),
            ("/gstwebrtc-api", "gstwebrtc-api"),
        ] {
            assert_eq!(file_name(path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_page() {
        for path in [
            "",
            "//",
            "/..",
            "/../etc/passwd",
            "/assets/../../x",
            "/assets/..",
            "/./index.html",
            "//etc/passwd",
            "/assets//x",
            "/%2e%2e/x",
            "/..%2fx",
            "/a%00b",
            "/a\\..\\b",
            "/.git/config",
            "/assets/.hidden",
            "/a b",
            "/ä",
            "/a//",
            "/a/./",
        ] {
            assert_eq!(file_name(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn embedded_files_are_found_by_their_whole_name() {
        let page = Page::embedded(&[("index.html", b"page"), ("assets/a.js", b"script")]);
        let found = page.find("assets/a.js").await.expect("readable").expect("there");
        assert_eq!(found, (b"script".to_vec(), tag(b"script")));
        for name in ["a.js", "assets", "assets/b.js", "INDEX.HTML", ""] {
            assert_eq!(page.find(name).await.expect("readable"), None, "{name}");
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let tag = tag(b"content");
        let text = tag.to_str().expect("ASCII").to_owned();
        let header = |text: String| HeaderValue::from_str(&text).expect("a header");
        assert!(knows(&header(text.clone()), &tag));
        assert!(knows(&header(format!("\"x\", W/{text}")), &tag));
        assert!(knows(&header("*".into()), &tag));
        assert!(!knows(&header("\"x\"".into()), &tag));
    }
}
