//! Names for the owner where a value of the service's configuration stands.
//!
//! In: the values with the file that provisioning made of the appliance's own settings and the owner's. Out: the same with what the
//! owner knows and can change; the file with what he has to know. Never: another value; anything of a configuration that is not the appliance's.

use std::path::{Path, PathBuf};

use super::{Places, files};
use crate::config::Setting;

/// Replaces that file's path as the origin; `config` is the configuration that the service was started with.
pub fn named(places: &Places, config: Option<&Path>, settings: Vec<Setting>) -> Vec<Setting> {
    let made = places.service();
    if config != Some(&made) {
        return settings;
    }
    let table =
        |path: &Path| -> toml::Table { files::read(path).and_then(|text| text.parse().ok()).unwrap_or_default() };
    let (own, all, made) = (table(&places.defaults), table(&made), made.display().to_string());
    let origin = |key: &str| match key {
        key if own.contains_key(key) && own.get(key) == all.get(key) => "the appliance's own settings",
        key if key == "publish" || key.starts_with("publish-") => "duplex.toml on the card, [publish]",
        _ => "duplex.toml on the card, [service]",
    };
    let rename = |setting: Setting| match setting.origin == made {
        true => Setting { origin: origin(&setting.key).to_owned(), ..setting },
        false => setting,
    };
    settings.into_iter().map(rename).collect()
}

/// The file with sentences for the owner; `None`: the service was started with a configuration of somebody's own, and whatever lies
/// beside that is none of its business.
pub fn notes(places: &Places, config: Option<&Path>) -> Option<PathBuf> {
    (config == Some(&places.service())).then(|| places.notes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_made_file_is_named_as_what_it_is_made_of() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::under(root.path());
        let made = places.service();
        for path in [&made, &places.defaults] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(&places.defaults, "video = \"test\"\naudio = \"test\"\n").unwrap();
        fs::write(
            &made,
            "video = \"camera:auto\"\naudio = \"test\"\nname = \"Door\"\npublish-url = \"https://a.example/\"\n",
        )
        .unwrap();
        let setting = |key: &str, origin: &str| Setting {
            key: key.into(),
            value: "x".into(),
            origin: origin.into(),
            help: String::new(),
            heading: String::new(),
        };
        let from = made.display().to_string();
        let settings = vec![
            setting("video", &from),
            setting("audio", &from),
            setting("name", &from),
            setting("publish-url", &from),
            setting("width", "default"),
            setting("state-dir", "DUPLEX_STATE_DIR"),
        ];
        let origins = |settings: Vec<Setting>| -> Vec<String> { settings.into_iter().map(|one| one.origin).collect() };
        let card = "duplex.toml on the card, [service]";
        assert_eq!(
            origins(named(&places, Some(&made), settings.clone())),
            [
                card,
                "the appliance's own settings",
                card,
                "duplex.toml on the card, [publish]",
                "default",
                "DUPLEX_STATE_DIR"
            ]
        );
        // Elsewhere the file of that name is the owner's own.
        assert_eq!(named(&places, None, settings.clone()), settings);
        assert_eq!(named(&places, Some(Path::new("/etc/duplex/duplex.toml")), settings.clone()), settings);
    }

    #[test]
    fn notes_are_read_beside_the_appliances_own_configuration_alone() {
        let places = Places::under(Path::new("/"));
        let of = |config: &str| notes(&places, Some(Path::new(config)));
        assert_eq!(of("/run/duplex/service.toml"), Some(PathBuf::from("/run/duplex/service.notes")));
        assert_eq!((of("/home/me/service.toml"), of("duplex.toml"), notes(&places, None)), (None, None, None));
    }
}
