//! What an image is made of, as CycloneDX JSON (<https://cyclonedx.org/docs/1.5/json/>): every crate that was compiled into
//! the binary of the box, Rust's standard library with its C library, and the kernel.
//!
//! Which crates those are is not worked out here: cargo says what it has compiled for the target. What it knows of each
//! (licence, dependencies) and the checksums of their sources come from `cargo metadata` and `Cargo.lock`. The document
//! carries neither a time nor a serial number, which the standard leaves to choice, so that it depends on nothing but what is
//! in the image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The package of stage 0 and the firmware.
const FIRMWARE: &str = "penstock-firmware";

/// What cargo and the compiler know.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    /// What `cargo build --message-format=json` said while it built the binary, a JSON object a line.
    pub messages: &'a str,
    /// The target that it was built for.
    pub target: &'a str,
    /// What `cargo metadata --format-version 1` said of the workspace, for all targets in the image.
    pub metadata: &'a str,
    /// `Cargo.lock`.
    pub lock: &'a str,
    /// The version of the compiler, and so of the standard library.
    pub rust: &'a str,
    /// The version of the C library in it.
    pub libc: &'a str,
    /// What runs without an operating system, if it is in the image.
    pub firmware: Option<Firmware<'a>>,
}

/// What cargo knows of stage 0 and the firmware, which are built together.
#[derive(Clone, Copy, Debug)]
pub struct Firmware<'a> {
    /// What `cargo build --message-format=json` said.
    pub messages: &'a str,
    /// The target.
    pub target: &'a str,
    /// SHA-256 of stage 0 as it stands in flash.
    pub stage0_sha256: &'a str,
    /// SHA-256 of the firmware, without its manifest.
    pub firmware_sha256: &'a str,
}

/// What an image is made of, besides crates.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The board.
    pub board: &'a str,
    /// The version of Penstock.
    pub version: &'a str,
    /// SHA-512 of what the signature of the system covers, as hexadecimal digits: who signs changes nothing of what is in it.
    pub manifest_sha512: &'a str,
    /// SHA-256 of the binary.
    pub penstock_sha256: &'a str,
    /// The version of Debian's package of the kernel's source.
    pub kernel_version: &'a str,
    /// SHA-256 of the compressed kernel.
    pub kernel_sha256: &'a str,
    /// SHA-256 of the configuration it was built with.
    pub kernel_config_sha256: &'a str,
}

/// Says what is in an image.
///
/// # Errors
/// What of the input is not as cargo writes it, as a sentence.
pub fn describe(compiled: &Compiled<'_>, parts: &Parts<'_>) -> Result<Vec<u8>, String> {
    let metadata: Metadata = serde_json::from_str(compiled.metadata)
        .map_err(|error| format!("what cargo says of the workspace cannot be read: {error}"))?;
    let lock: Lock =
        toml::from_str(compiled.lock).map_err(|error| format!("Cargo.lock cannot be read: {error}"))?;
    let hosted = compiled_packages(compiled.messages, compiled.target)?;
    let bare = match &compiled.firmware {
        Some(firmware) => compiled_packages(firmware.messages, firmware.target)?,
        None => BTreeSet::new(),
    };
    let ids: BTreeSet<String> = hosted.union(&bare).cloned().collect();
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let package =
        |id: &str| packages.get(id).copied().ok_or(format!("cargo compiled {id}, and does not know it"));

    let mut components = vec![
        Component {
            kind: "application",
            hashes: vec![Hash::sha256(parts.penstock_sha256)],
            properties: vec![Property::new("penstock:target", compiled.target)],
            ..Component::cargo("penstock", parts.version, Some("MIT OR Apache-2.0"))
        },
        Component {
            kind: "operating-system",
            bom_ref: "linux".into(),
            name: "linux".into(),
            version: parts.kernel_version.to_owned(),
            purl: format!("pkg:deb/debian/linux@{}?arch=source", parts.kernel_version),
            licenses: vec![License::of("GPL-2.0-only WITH Linux-syscall-note")],
            hashes: vec![Hash::sha256(parts.kernel_sha256)],
            properties: vec![Property::new("penstock:kernel.config:sha256", parts.kernel_config_sha256)],
        },
        Component {
            bom_ref: "rust-std".into(),
            name: "rust-std".into(),
            version: compiled.rust.to_owned(),
            purl: format!("pkg:github/rust-lang/rust@{}", compiled.rust),
            licenses: vec![License::of("MIT OR Apache-2.0")],
            ..Component::library()
        },
        Component {
            bom_ref: "musl".into(),
            name: "musl".into(),
            version: compiled.libc.to_owned(),
            purl: format!("pkg:generic/musl@{}", compiled.libc),
            licenses: vec![License::of("MIT")],
            ..Component::library()
        },
    ];
    if let Some(firmware) = &compiled.firmware {
        components.push(Component {
            kind: "firmware",
            hashes: vec![Hash::sha256(firmware.firmware_sha256)],
            properties: vec![
                Property::new("penstock:target", firmware.target),
                Property::new("penstock:stage0:sha256", firmware.stage0_sha256),
            ],
            ..Component::cargo(FIRMWARE, parts.version, Some("MIT OR Apache-2.0"))
        });
    }
    // The packages of the programs: their components are the programs.
    let programs: Vec<String> =
        components.iter().filter(|one| one.is_program()).map(|one| one.bom_ref.clone()).collect();
    let mut on_box = programs.clone();
    on_box.push("linux".into());
    on_box.sort_unstable();
    let mut dependencies = vec![
        Dependency { of: "box".into(), on: on_box },
        Dependency { of: "rust-std".into(), on: vec!["musl".into()] },
    ];
    let mut crates = Vec::new();
    for id in &ids {
        let package = package(id)?;
        let mut component = Component::cargo(&package.name, &package.version, package.license.as_deref());
        let checksum = lock.checksum(package);
        if package.source.is_some() && checksum.is_none() {
            return Err(format!("Cargo.lock has no checksum of {} {}", package.name, package.version));
        }
        component.hashes.extend(checksum.map(Hash::sha256));
        let mut on: Vec<String> = metadata.dependencies_of(id, &ids).map(package_url_of(&packages)).collect();
        // What runs without an operating system has the core of the standard library and no C library.
        if hosted.contains(id) {
            on.push("rust-std".into());
        }
        on.sort_unstable();
        dependencies.push(Dependency { of: component.bom_ref.clone(), on });
        if !programs.contains(&component.bom_ref) {
            crates.push(component);
        }
    }
    if let Some(program) = programs.iter().find(|program| !dependencies.iter().any(|one| one.of == **program))
    {
        return Err(format!("cargo does not say that it has compiled {program}"));
    }
    crates.sort_by(|one, other| one.bom_ref.cmp(&other.bom_ref));
    dependencies.sort_by(|one, other| one.of.cmp(&other.of));
    components.append(&mut crates);

    let document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.5",
        version: 1,
        metadata: About {
            component: Component {
                kind: "firmware",
                bom_ref: "box".into(),
                name: format!("penstock-{}", parts.board),
                version: parts.version.to_owned(),
                purl: format!("pkg:generic/penstock-{}@{}", parts.board, parts.version),
                hashes: vec![Hash { alg: "SHA-512", content: parts.manifest_sha512.to_owned() }],
                ..Component::library()
            },
        },
        components,
        dependencies,
    };
    let mut json = serde_json::to_vec_pretty(&document).map_err(|error| error.to_string())?;
    json.push(b'\n');
    Ok(json)
}

/// The packages of which code was compiled for the target: no build scripts, no macros, and nothing that these need.
fn compiled_packages(messages: &str, target: &str) -> Result<BTreeSet<String>, String> {
    let folder = format!("/{target}/");
    let mut ids = BTreeSet::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line)
            .map_err(|error| format!("what cargo said while it built cannot be read: {error}"))?;
        if message.reason == "compiler-artifact"
            && message.filenames.iter().any(|file| file.contains(&folder))
            && !message.target.kind.iter().any(|kind| kind == "custom-build")
        {
            ids.insert(message.package_id);
        }
    }
    Ok(ids)
}

fn package_url(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn package_url_of<'p>(packages: &'p BTreeMap<&str, &Package>) -> impl Fn(&str) -> String + 'p {
    |id| {
        packages.get(id).map_or_else(|| id.to_owned(), |package| package_url(&package.name, &package.version))
    }
}

// --- What cargo says

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    target: MessageTarget,
    #[serde(default)]
    filenames: Vec<String>,
}

#[derive(Default, Deserialize)]
struct MessageTarget {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for what is in the workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Absent for what is linked; else `dev` or `build`.
    kind: Option<String>,
}

impl Metadata {
    /// Which of these packages a package links.
    fn dependencies_of<'m>(
        &'m self,
        id: &'m str,
        among: &'m BTreeSet<String>,
    ) -> impl Iterator<Item = &'m str> {
        let node = self.resolve.nodes.iter().find(|node| node.id == id);
        let deps = node.map(|node| node.deps.as_slice()).unwrap_or_default().iter();
        deps.filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()) && among.contains(&dep.pkg))
            .map(|dep| dep.pkg.as_str())
    }
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl Lock {
    /// SHA-256 of the archive with the sources.
    fn checksum(&self, package: &Package) -> Option<&str> {
        let is_it = |locked: &&LockedPackage| {
            locked.name == package.name
                && locked.version == package.version
                && locked.source == package.source
        };
        self.package.iter().find(is_it)?.checksum.as_deref()
    }
}

// --- CycloneDX

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: About,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct About {
    component: Component,
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License>,
    purl: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

impl Component {
    /// Whether it is what runs, and no part of it.
    fn is_program(&self) -> bool {
        matches!(self.kind, "application" | "firmware")
    }

    /// A library of which nothing is known yet.
    fn library() -> Self {
        Self {
            kind: "library",
            bom_ref: String::new(),
            name: String::new(),
            version: String::new(),
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: String::new(),
            properties: Vec::new(),
        }
    }

    /// A crate.
    fn cargo(name: &str, version: &str, license: Option<&str>) -> Self {
        Self {
            bom_ref: package_url(name, version),
            name: name.to_owned(),
            version: version.to_owned(),
            licenses: license.map(License::of).into_iter().collect(),
            purl: package_url(name, version),
            ..Self::library()
        }
    }
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

impl Hash {
    fn sha256(digits: &str) -> Self {
        Self { alg: "SHA-256", content: digits.to_owned() }
    }
}

#[derive(Serialize)]
struct License {
    expression: String,
}

impl License {
    /// An SPDX expression. Old crates write the slash that cargo took before there was one.
    fn of(license: &str) -> Self {
        let choices: Vec<&str> = license.split('/').map(str::trim).collect();
        Self { expression: choices.join(" OR ") }
    }
}

#[derive(Serialize)]
struct Property {
    name: String,
    value: String,
}

impl Property {
    fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

#[derive(Serialize)]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    #[serde(rename = "dependsOn")]
    on: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const REGISTRY: &str = "registry+https://registry.example/index";
    const PARTS: Parts<'static> = Parts {
        board: "test",
        version: "0.1.0",
        manifest_sha512: "aa",
        penstock_sha256: "bb",
        kernel_version: "6.1.1-1",
        kernel_sha256: "cc",
        kernel_config_sha256: "dd",
    };

    fn artifact(id: &str, kind: &str, file: &str) -> String {
        let target = json!({ "kind": [kind] });
        json!({ "reason": "compiler-artifact", "package_id": id, "target": target, "filenames": [file] })
            .to_string()
    }

    fn package(id: &str, name: &str, license: &str, source: Option<&str>) -> Value {
        json!({ "id": id, "name": name, "version": "0.1.0", "license": license, "source": source })
    }

    /// `penstock` links `linked`, which links `deep`; a macro, a build script and a crate of another target are about. The
    /// firmware links `deep` and `bare`.
    fn described(lock: &str, has_firmware: bool) -> Result<Value, String> {
        let box_file = |name: &str| format!("/clone/out/box-target/release/deps/lib{name}.rlib");
        let bare_file = |name: &str| format!("/clone/out/bare-target/release/deps/{name}");
        let messages = [
            artifact("deep", "lib", &box_file("deep")),
            artifact("linked", "lib", &box_file("linked")),
            artifact("linked", "custom-build", "/clone/out/release/build/linked/build-script-build"),
            artifact("macro", "proc-macro", "/clone/out/release/deps/libmacro.so"),
            artifact("penstock", "bin", "/clone/out/box-target/release/penstock"),
            json!({ "reason": "build-finished", "success": true }).to_string(),
        ]
        .join("\n");
        let firmware_messages = [
            artifact("deep", "lib", &bare_file("libdeep.rlib")),
            artifact("bare", "lib", &bare_file("libbare.rlib")),
            artifact("firmware", "bin", &bare_file("firmware")),
        ]
        .join("\n");
        let dep = |on: &str, kind: Value| json!({ "pkg": on, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                package("penstock", "penstock", "MIT OR Apache-2.0", None),
                package("firmware", "penstock-firmware", "MIT OR Apache-2.0", None),
                package("linked", "linked", "MIT/Apache-2.0", Some(REGISTRY)),
                package("deep", "deep", "Zlib", Some(REGISTRY)),
                package("bare", "bare", "MIT", Some(REGISTRY)),
                package("macro", "macro", "MIT", Some(REGISTRY)),
                package("elsewhere", "elsewhere", "MIT", Some(REGISTRY)),
            ],
            "resolve": { "nodes": [
                { "id": "penstock", "deps": [
                    dep("linked", Value::Null), dep("macro", Value::Null), dep("deep", json!("dev")),
                ] },
                { "id": "firmware", "deps": [dep("deep", Value::Null), dep("bare", Value::Null)] },
                { "id": "linked", "deps": [dep("deep", Value::Null), dep("elsewhere", Value::Null)] },
                { "id": "deep", "deps": [] },
                { "id": "bare", "deps": [] },
            ] },
        });
        let compiled = Compiled {
            messages: &messages,
            target: "box-target",
            metadata: &metadata.to_string(),
            lock,
            rust: "1.95.0",
            libc: "1.2.5",
            firmware: has_firmware.then_some(Firmware {
                messages: &firmware_messages,
                target: "bare-target",
                stage0_sha256: "ee",
                firmware_sha256: "ff",
            }),
        };
        describe(&compiled, &PARTS).map(|json| serde_json::from_slice(&json).unwrap())
    }

    fn lock() -> String {
        ["linked", "deep", "bare", "macro", "elsewhere"]
            .map(|name| {
                format!(
                    "[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\nsource = \"{REGISTRY}\"\n\
                     checksum = \"sum of {name}\"\n"
                )
            })
            .concat()
    }

    #[test]
    fn it_lists_what_was_compiled_for_the_box_and_nothing_else() {
        let document = described(&lock(), false).unwrap();
        let components = document["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["penstock", "linux", "rust-std", "musl", "deep", "linked"]);
        let linked = &components[5];
        assert_eq!(linked["purl"], "pkg:cargo/linked@0.1.0");
        assert_eq!(linked["licenses"][0]["expression"], "MIT OR Apache-2.0", "as SPDX writes it");
        assert_eq!(linked["hashes"][0], json!({ "alg": "SHA-256", "content": "sum of linked" }));
        let kernel = &components[1];
        assert_eq!(kernel["version"], "6.1.1-1");
        assert_eq!(kernel["properties"][0]["value"], "dd");
        assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], "aa");
        assert!(document.get("serialNumber").is_none() && document["metadata"].get("timestamp").is_none());
    }

    #[test]
    fn it_says_what_links_what_and_names_nothing_that_it_does_not_list() {
        let document = described(&lock(), false).unwrap();
        let dependencies = document["dependencies"].as_array().unwrap();
        let on = |of: &str| dependencies.iter().find(|one| one["ref"] == of).unwrap()["dependsOn"].clone();
        assert_eq!(on("pkg:cargo/penstock@0.1.0"), json!(["pkg:cargo/linked@0.1.0", "rust-std"]));
        assert_eq!(on("pkg:cargo/linked@0.1.0"), json!(["pkg:cargo/deep@0.1.0", "rust-std"]));
        assert_eq!(on("box"), json!(["linux", "pkg:cargo/penstock@0.1.0"]));
    }

    #[test]
    fn the_firmware_is_listed_with_what_only_it_links() {
        let document = described(&lock(), true).unwrap();
        let components = document["components"].as_array().unwrap();
        let firmware = components.iter().find(|one| one["name"] == "penstock-firmware").unwrap();
        assert_eq!(
            (&firmware["type"], &firmware["hashes"][0]["content"]),
            (&json!("firmware"), &json!("ff"))
        );
        assert_eq!(firmware["properties"][1], json!({ "name": "penstock:stage0:sha256", "value": "ee" }));
        let dependencies = document["dependencies"].as_array().unwrap();
        let on = |of: &str| dependencies.iter().find(|one| one["ref"] == of).unwrap()["dependsOn"].clone();
        assert_eq!(
            on("pkg:cargo/penstock-firmware@0.1.0"),
            json!(["pkg:cargo/bare@0.1.0", "pkg:cargo/deep@0.1.0"])
        );
        assert_eq!(on("pkg:cargo/bare@0.1.0"), json!([]), "no standard library");
        assert_eq!(on("pkg:cargo/deep@0.1.0"), json!(["rust-std"]), "the system links it too");
        assert!(on("box").as_array().unwrap().contains(&json!("pkg:cargo/penstock-firmware@0.1.0")));
    }

    #[test]
    fn a_crate_without_a_checksum_is_not_passed_over() {
        let error = described(&lock().replace("sum of deep", "").replace("checksum = \"\"\n", ""), false)
            .unwrap_err();
        assert!(error.contains("no checksum of deep"), "{error}");
    }
}
