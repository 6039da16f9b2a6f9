//! The description of the API and the routers say the same.

use super::*;
use crate::http::openapi::Description;
use std::collections::BTreeSet;
use utoipa::OpenApi;

/// Method and path of every `.route("PATH", get(..).patch(..))` in the files of this folder.
fn routes() -> BTreeSet<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the source").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a source file");
        for call in text.split(".route(\"").skip(1) {
            let (path, rest) = call.split_once('"').expect("the end of a path");
            let at_root = ["mod", "trust", "monitoring", "whep"].contains(&name.as_str());
            let path = if at_root { path.to_owned() } else { format!("/api/v1{path}") };
            // Up to the parenthesis that ends the call.
            let mut depth = 1;
            let end = rest.find(|letter| {
                depth += match letter {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let handlers = &rest[..end.expect("the end of a call")];
            for method in ["get", "post", "put", "patch", "delete"] {
                let opens = format!("{method}(");
                if handlers
                    .split(|letter: char| !letter.is_alphanumeric() && letter != '(')
                    .any(|word| word.starts_with(&opens))
                {
                    found.insert((method.to_owned(), path.clone()));
                }
            }
        }
    }
    found
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = serde_json::to_value(Description::openapi()).expect("a document");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            described.insert((method.clone(), path.clone()));
        }
    }
    // What is there for browsers and stock clients, not for programs that use the API.
    let pages = ["/", "/signalling", "/trust", "/trust.css", "/ca.pem", "/ca.der", "/ca.mobileconfig"];
    let routes: BTreeSet<_> = routes().into_iter().filter(|(_, path)| !pages.contains(&path.as_str())).collect();
    assert!(routes.len() > 15, "{routes:?}");
    assert_eq!(
        described, routes,
        "left: what openapi.rs describes, right: what is routed; a new handler gets #[utoipa::path] and a line in openapi.rs"
    );
}

#[test]
fn every_operation_has_a_summary_a_tag_and_an_answer() {
    let document = serde_json::to_value(Description::openapi()).expect("a document");
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(
                names.insert(operation["operationId"].to_string()),
                "{method} {path}: its name is taken: {operation}"
            );
            let named = |key: &str| operation[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(named("summary") && named("operationId"), "{method} {path}: {operation}");
            assert!(!operation["tags"][0].is_null() && operation["responses"].is_object(), "{method} {path}");
        }
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in ["ApiError", "Status", "Event", "Sessions", "DeviceHealth", "Configuration", "HealthReport"] {
        assert!(schemas.contains_key(name), "{name} is missing in {:?}", schemas.keys());
    }
}

#[tokio::test]
async fn everything_described_is_served() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let document = service.get("/api/v1/openapi.json").send(&service).await.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{document}");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).expect("a method");
            let path = path.replace("{id}", "none").replace("{name}", "none");
            let reply = service.request(method.clone(), &path).header("origin", &service.origin()).send(&service).await;
            let code = if reply.status.is_success() { Value::Null } else { reply.json()["error"]["code"].clone() };
            assert!(code != "notFound" && code != "methodNotAllowed", "{method} {path}: {}", reply.text());
        }
    }
}
