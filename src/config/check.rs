//! Rules that join several keys or look at the file system.
//!
//! In: the joined layers. Out: more problems in them. Never: changes anything on disk, asks for a device.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::layers::Layers;
use super::{IceServer, PictureSink, Publish, SoundSink, publish};
use crate::words::plain;

/// Fills in the default of `state-dir`, which depends on the environment.
pub(super) fn state_dir(layers: &mut Layers, env: &dyn Fn(&str) -> Option<String>) {
    if layers.config.state_dir.as_os_str().is_empty() {
        // systemd gives several folders with a colon between them when a unit asks for several.
        let systemd = env("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
        // A relative folder here is to be ignored, says the XDG base directory specification.
        let xdg = || env("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || env("HOME").map(|home| Path::new(&home).join(".local/state"));
        match systemd.or_else(|| xdg().or_else(home).map(|base| base.join("duplex"))) {
            Some(path) => layers.config.state_dir = path,
            None => layers.wrong("state-dir", "must be given, because neither STATE_DIRECTORY nor HOME is set"),
        }
    }
    let path = &layers.config.state_dir;
    if path.exists() && !path.is_dir() {
        let rule = format!("must be a folder, but {} is none", path.display());
        layers.wrong("state-dir", rule);
    }
}

/// Applies all rules that no single key can keep alone.
pub(super) fn all(layers: &mut Layers) {
    network(layers);
    ice_servers(layers);
    certificate(layers);
    published(layers);
    media(layers);
}

/// Applies the rules of media whose keys are among `values`.
pub(super) fn changed(layers: &mut Layers, values: &toml::Table) {
    if ["video", "audio", "sound"].into_iter().any(|key| values.contains_key(key)) {
        media(layers);
    }
    for key in ["video", "audio", "sound"].into_iter().filter(|key| !values.contains_key(*key)) {
        layers.forget_problems_of(key);
    }
    layers.forget_problems_of("picture");
}

fn network(layers: &mut Layers) {
    let config = &layers.config;
    let open = config.listen.iter().find(|address| !address.ip().is_loopback()).copied();
    let help_taken = config.help_listen.is_some_and(|help| help.port() != 0 && config.listen.contains(&help));
    let (viewers, peers) = (config.max_viewers, config.max_peers);

    if let (true, Some(address), true) = (layers.config.plain, open, layers.clean(&["plain", "listen"])) {
        layers.wrong("plain", format!("must be false, because listen has {address}, which is not loopback"));
    }
    if help_taken && layers.clean(&["help-listen", "listen"]) {
        layers.wrong("help-listen", "must be another address than those of listen");
    }
    if peers < viewers && layers.clean(&["max-viewers", "max-peers"]) {
        layers.wrong("max-peers", format!("must be at least max-viewers, which is {viewers}"));
    }
    if let Some(folder) = layers.config.web_app.clone()
        && !folder.join("index.html").is_file()
    {
        layers.wrong("web-app", format!("must be a folder with an index.html, but {} is none", folder.display()));
    }
}

fn ice_servers(layers: &mut Layers) {
    for (index, server) in layers.ice_server_list().to_vec().iter().enumerate() {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        if !layers.clean(&[&format!("ice-server[{index}].urls")]) {
            // Its type is wrong, which was said already.
        } else if server.urls.is_empty() {
            layers.wrong_ice_server(index, "urls", String::new(), "must be given");
        } else if let Err(rule) = IceServer::check_url(&server.urls) {
            layers.wrong_ice_server(index, "urls", quoted(&server.urls), &rule.to_string());
        } else if server.is_turn() && (server.username.is_none() || server.credential_file.is_none()) {
            let rule = "must come with username and credential-file, which every TURN server asks for";
            layers.wrong_ice_server(index, "urls", quoted(&server.urls), rule);
        }
        if let Some(path) = &server.credential_file
            && let Err(rule) = secret_file(path)
        {
            layers.wrong_ice_server(index, "credential-file", quoted(&path.to_string_lossy()), &rule);
        }
    }
}

fn certificate(layers: &mut Layers) {
    let (cert, key) = (layers.config.cert.clone(), layers.config.key.clone());
    match (&cert, &key) {
        (Some(_), None) => layers.wrong("cert", "must come together with key"),
        (None, Some(_)) => layers.wrong("key", "must come together with cert"),
        _ => {}
    }
    if let Some(Err(rule)) = cert.as_deref().map(readable_file) {
        layers.wrong("cert", rule);
    }
    if let Some(Err(rule)) = key.as_deref().map(secret_file) {
        layers.wrong("key", rule);
    }
}

fn published(layers: &mut Layers) {
    let config = &layers.config;
    let (to, token, ca) = (config.publish.clone(), config.publish_token.clone(), config.publish_ca.clone());
    if to.is_none() && layers.clean(&["publish-url"]) {
        for (key, _) in [("publish-token-file", &token), ("publish-ca", &ca)].iter().filter(|(_, file)| file.is_some())
        {
            layers.wrong(key, "must come together with publish-url");
        }
    }
    if let Some(Publish::InFile(path)) = &to
        && let Err(rule) = secret_file(path).and_then(|()| address_in(path))
    {
        layers.wrong("publish-url", rule);
    }
    if let Some(Err(rule)) = token.as_deref().map(secret_file) {
        layers.wrong("publish-token-file", rule);
    }
    if let Some(Err(rule)) = ca.as_deref().map(readable_file) {
        layers.wrong("publish-ca", rule);
    }
    if ca.is_some() && to.is_some_and(|to| to.is_plain()) {
        layers.wrong("publish-ca", "must be empty, because publish-url is plain http://, where nothing is verified");
    }
}

/// Says what is wrong with the address on the first line of a file, without a word of it.
fn address_in(path: &Path) -> Result<(), String> {
    let cannot =
        |error: std::io::Error| format!("must be a file that can be read, but {}: {}", path.display(), plain(error));
    let text = fs::read_to_string(path).map_err(cannot)?;
    let address = publish::address(text.lines().next().unwrap_or_default().trim());
    address.map(drop).map_err(|rule| format!("is a file whose first line {rule}"))
}

fn media(layers: &mut Layers) {
    let config = layers.config.clone();
    if let Some(Err(rule)) = config.video.file().map(readable_file) {
        layers.wrong("video", rule);
    }
    if let Some(Err(rule)) = config.audio.file().map(readable_file) {
        layers.wrong("audio", rule);
    }
    if let SoundSink::File(path) = &config.sound {
        // The parent of a bare name is the empty path, which means the current folder.
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            layers.wrong("sound", format!("must be a file in a folder that is there, but {} is not", folder.display()));
        } else if path.is_dir() {
            layers.wrong("sound", "must be a file, but it is a folder");
        }
    }
    if let Some(folder) = &config.record_dir
        && folder.exists()
        && !folder.is_dir()
    {
        layers.wrong("record-dir", format!("must be a folder, but {} is none", folder.display()));
    }
    if let Some(folder) = &config.clips
        && !folder.is_dir()
    {
        layers.wrong("clips", format!("must be a folder that is there, but {} is not", folder.display()));
    }
    for sink in &config.picture {
        if let PictureSink::Record(folder) = sink
            && folder.exists()
            && !folder.is_dir()
        {
            layers.wrong("picture", format!("must record into a folder, but {} is none", folder.display()));
        }
    }
}

/// Says what is wrong with a file that must be read.
fn readable_file(path: &Path) -> Result<(), String> {
    let cannot =
        |error: std::io::Error| format!("must be a file that can be read, but {}: {}", path.display(), plain(error));
    // Asked before opening, because opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(format!("must be a file, but {} is none", path.display()));
    }
    fs::File::open(path).map_err(cannot)?;
    Ok(())
}

/// As [`readable_file`], and not open to everybody on the machine.
fn secret_file(path: &Path) -> Result<(), String> {
    readable_file(path)?;
    let mode = fs::metadata(path).map_err(|error| format!("must be readable: {}", plain(error)))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("must not be open to everybody; run `chmod 600 {}`", path.display()));
    }
    Ok(())
}
