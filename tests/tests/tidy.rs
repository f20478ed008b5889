//! The house rules that no compiler holds: each is a row of [`RULES`], with a sample that must make it go red.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// A text file of the repository, its path as seen from the root.
struct File {
    path: String,
    text: String,
}

/// What is broken and where, one line each.
type Findings = Vec<String>;

/// One rule of the house.
struct Rule {
    name: &'static str,
    check: fn(&[File]) -> Findings,
    /// Files, as (path, text), that the rule must find fault with.
    bad: &'static [(&'static str, &'static str)],
    /// Files that it must let pass.
    good: &'static [(&'static str, &'static str)],
}

/// The rooms of the engine: a room imports only from rooms before it.
const ROOMS: &[&str] = &[
    "random", // tests only
    "stack",
    "sync",
    "id",
    "limits",
    "error",
    "value",
    "ring",
    "payload",
    "notifier",
    "metrics",
    "cursor",
    "event",
    "policy",
    "overflow",
    "frame",
    "loss",
    "link",
    "plan",
    "security",
    "router",
    "envelope",
    "shard",
    "control",
    "subscriber",
    "protocol",
    "bus",
    "engine",
    "simulation", // tests only
    "lib",
    "docs",
];

/// Rooms that must not know others, although these stand before them.
const STRANGERS: &[(&str, &str)] = &[
    ("ring", "id"),
    ("ring", "limits"),
    ("ring", "error"),
    ("ring", "value"),
    ("ring", "payload"),
    ("policy", "event"),
];

/// Where `unsafe` may stand; each place gives its reasons in `SAFETY` comments.
const UNSAFE_PLACES: &[&str] = &[
    "engine/src/ring/",
    "engine/src/payload.rs",
    // An allocator that counts is an `unsafe impl`, whatever it does.
    "benches/benches/policy.rs",
];

/// Bounds that nothing holds yet; one that is held must leave this list.
const LIMITS_TO_COME: &[&str] = &[];

const FILE_LINES_MAX: usize = 800;

const RULES: &[Rule] = &[
    Rule {
        name: "a room of the engine imports only from rooms before it",
        check: room_order,
        bad: &[
            ("engine/src/value/scan.rs", "use crate::{error::X, shard::Y};\n"),
            ("engine/src/ring/mod.rs", "let x = crate::engine::Engine::new();\n"),
            ("engine/src/policy/vm.rs", "use crate::event::Event;\n"),
            ("engine/src/attic.rs", "//! A room without a place in the order.\n"),
        ],
        good: &[
            ("engine/src/shard/mod.rs", "use crate::{event::Event, ring, shard::index::Index};\n"),
            ("engine/src/limits.rs", "//! See [`crate::engine::Engine`].\n"),
            ("engine/src/lib.rs", "mod anything;\n"),
        ],
    },
    Rule {
        name: "python → adapters → engine, and nothing points back",
        check: directions,
        bad: &[
            ("engine/Cargo.toml", "[dependencies]\npyo3.workspace = true\n"),
            ("engine/Cargo.toml", "[dependencies]\ncoulis-adapters = { path = \"../adapters\" }\n"),
            ("adapters/Cargo.toml", "[dependencies]\ncoulis-python.workspace = true\n"),
            ("engine/src/bus.rs", "use coulis_adapters::Redis;\n"),
        ],
        good: &[
            ("adapters/Cargo.toml", "[dependencies]\ncoulis.workspace = true\n"),
            ("python/src/lib.rs", "use coulis_adapters::Memory;\n"),
        ],
    },
    Rule {
        name: "the first line of a source file says what the file is for",
        check: first_lines,
        bad: &[
            ("engine/src/id.rs", "use std::fmt;\n"),
            ("engine/src/id.rs", "//!\n"),
            ("python/coulis/asgi.py", "import asyncio\n"),
            ("python/coulis/__init__.py", ""),
            ("scripts/tool", "#!/usr/bin/env bash\nset -e\n"),
        ],
        good: &[
            ("engine/src/id.rs", "//! Names and numbers of things.\n"),
            ("python/coulis/asgi.py", "\"\"\"The ASGI application.\"\"\"\n"),
            ("python/examples/tool.py", "#!/usr/bin/env python3\n\"\"\"A tool.\"\"\"\n"),
            ("scripts/tool", "#!/usr/bin/env bash\n# Says something.\n"),
        ],
    },
    Rule {
        name: "`unsafe` stands only where it is listed",
        check: unsafe_places,
        bad: &[("engine/src/shard/mod.rs", "fn f() {\n    unsafe { g() }\n}\n")],
        good: &[
            ("engine/src/ring/mod.rs", "unsafe { g() }\n"),
            ("engine/src/id.rs", "// an unsafe way would be\n#![deny(unsafe_code)]\n"),
        ],
    },
    Rule {
        name: "no file is longer than 800 lines",
        check: file_lengths,
        bad: &[("engine/src/long.rs", LONG)],
        good: &[("engine/src/short.rs", "//! Short.\n")],
    },
    Rule {
        name: "nothing is skipped and nothing is left to do",
        check: unfinished,
        bad: &[
            ("engine/src/a.rs", "#[test]\n#[ignore]\nfn f() {}\n"),
            ("engine/src/a.rs", "    todo!()\n"),
            ("engine/src/a.rs", "    unimplemented!()\n"),
            ("python/tests/test_a.py", "@pytest.mark.skip\n"),
            ("python/tests/test_a.py", "@pytest.mark.skipif(True, reason=\"slow\")\n"),
            ("python/tests/test_a.py", "@pytest.mark.xfail\n"),
            ("tests/clients/a.test.mjs", "test.skip('x', () => {})\n"),
        ],
        good: &[("engine/src/a.rs", "//! Nothing is `todo!()` here.\nlet rest = items.skip(1);\n")],
    },
    Rule {
        name: "no path of one machine and no address of a package registry",
        check: machine_paths,
        bad: &[
            ("README.md", "see /work/notes\n"),
            ("scripts/tool", "cd /root/x\n"),
            ("tests/clients/package-lock.json", "\"resolved\": \"https://registry.npmjs.org/ws\"\n"),
        ],
        good: &[("README.md", "see docs/work/ and https://docs.rs/coulis\n")],
    },
    Rule {
        name: "every bound of `Limits` is held somewhere",
        check: limits_held,
        bad: &[
            ("engine/src/limits.rs", "pub struct Limits {\n    pub a_max: usize,\n}\n"),
            (
                "engine/src/limits.rs",
                "pub struct Limits {\n    pub b_max: usize,\n}\nimpl Limits { fn f(self) { self.b_max } }\n",
            ),
        ],
        good: &[
            ("engine/src/limits.rs", "pub struct Limits {\n    pub a_max: usize,\n}\n"),
            ("engine/src/router.rs", "LimitExceeded::check(\"a_max\", asked, limits.a_max)\n"),
        ],
    },
    Rule {
        name: "tests wait for a fact, not for a time",
        check: sleeps,
        bad: &[
            ("tests/tests/order.rs", "thread::sleep(Duration::from_millis(5));\n"),
            ("python/tests/test_a.py", "time.sleep(0.1)\n"),
            ("python/tests/test_a.py", "await asyncio.sleep(0.1)\n"),
        ],
        good: &[
            ("python/tests/test_a.py", "await asyncio.sleep(0)\n"),
            ("python/tests/load.py", "await asyncio.sleep(PACE)\n"),
        ],
    },
];

/// 801 lines.
const LONG: &str = {
    const NEWLINES: [u8; FILE_LINES_MAX + 1] = [b'\n'; FILE_LINES_MAX + 1];
    match std::str::from_utf8(&NEWLINES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

#[test]
fn the_house_is_tidy() {
    let files = files_of(&root());
    assert!(files.len() > 30, "only {} files found: is this the repository?", files.len());
    let mut report = String::new();
    for rule in RULES {
        for finding in (rule.check)(&files) {
            writeln!(report, "{finding}\n    rule: {}", rule.name).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn each_rule_goes_red_on_each_bad_sample() {
    for rule in RULES {
        for sample in rule.bad {
            assert!(!(rule.check)(&files_from(&[*sample])).is_empty(), "{}: passes {sample:?}", rule.name);
        }
    }
}

#[test]
fn each_rule_lets_its_good_samples_pass() {
    for rule in RULES {
        assert_eq!((rule.check)(&files_from(rule.good)), Findings::new(), "{}", rule.name);
    }
}

fn room_order(files: &[File]) -> Findings {
    let rank = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut findings = Findings::new();
    for file in files.iter().filter(|file| file.is("engine/src/", "rs")) {
        let room = room_of(&file.path);
        let Some(own) = rank(room) else {
            findings.push(format!("{}: the room `{room}` has no place in the order", file.path));
            continue;
        };
        for (line, imported) in crate_paths(&file.text) {
            let pair = (room, imported.as_str());
            if STRANGERS.contains(&pair) || rank(&imported).is_some_and(|other| other > own) {
                findings.push(format!("{}:{line}: `{room}` must not know `{imported}`", file.path));
            }
        }
    }
    findings
}

fn directions(files: &[File]) -> Findings {
    const FORBIDDEN: &[(&str, &[&str])] = &[
        (
            "engine/",
            &["coulis-adapters", "coulis_adapters", "coulis-python", "pyo3", "tokio", "redis", "postgres"],
        ),
        ("adapters/", &["coulis-python", "coulis_python", "pyo3"]),
    ];
    let mut findings = Findings::new();
    for (room, names) in FORBIDDEN {
        let sources = files.iter().filter(|file| file.is(room, "rs") || file.is(room, "toml"));
        for (file, line, text) in sources.flat_map(File::code) {
            let named = names
                .iter()
                .find(|name| text.trim_start().starts_with(*name) || text.contains(&format!("{name}::")));
            if let Some(name) = named {
                findings.push(format!("{}:{line}: `{name}` must not be known here", file.path));
            }
        }
    }
    findings
}

fn first_lines(files: &[File]) -> Findings {
    let lacking = |file: &&File| {
        let mut lines = file.text.lines().skip_while(|line| line.starts_with("#!/"));
        let first = lines.next().unwrap_or_default();
        let opening: &[&str] = match file.extension() {
            "rs" => &["//! "],
            "py" => &["\"\"\"", "r\"\"\""],
            "mjs" | "js" => &["// "],
            "" if file.path.starts_with("scripts/") => &["# "],
            _ => return false,
        };
        !opening.iter().any(|opening| first.len() > opening.len() && first.starts_with(opening))
    };
    files.iter().filter(lacking).map(|file| format!("{}:1: says nothing", file.path)).collect()
}

fn unsafe_places(files: &[File]) -> Findings {
    let outside = files.iter().filter(|file| {
        file.extension() == "rs" && !UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place))
    });
    let mut findings = Findings::new();
    for (file, line, text) in outside.flat_map(File::code) {
        if text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
            findings.push(format!("{}:{line}: unsafe", file.path));
        }
    }
    findings
}

fn file_lengths(files: &[File]) -> Findings {
    // A stub tells of one extension module, and cannot be divided.
    let sources = files.iter().filter(|file| matches!(file.extension(), "rs" | "py" | "mjs" | "html" | ""));
    let lengths = sources.map(|file| (file, file.text.lines().count()));
    lengths
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect()
}

fn unfinished(files: &[File]) -> Findings {
    let found = found(
        files.iter().filter(|file| matches!(file.extension(), "rs" | "py" | "mjs")),
        &[
            "#[ignore",
            "todo!(",
            "unimplemented!(",
            "mark.skip",
            "mark.xfail",
            "pytest.skip(",
            "importorskip",
            "test.skip(",
            "test.todo(",
            "skip: true",
        ],
    );
    // Where a system lacks what is tested there is nothing to test.
    found
        .into_iter()
        .filter(|finding| !(finding.contains("mark.skipif(not hasattr(") && finding.contains("reason=")))
        .collect()
}

fn machine_paths(files: &[File]) -> Findings {
    found(
        files.iter().filter(|file| file.path != "Cargo.lock"),
        &[
            " /work/",
            "\"/work/",
            "'/work/",
            "(/work/",
            "=/work/",
            "`/work/",
            "/root/",
            "registry.npmjs.org",
            "://pypi.org",
            "pythonhosted.org",
            "static.crates.io",
            "index.crates.io",
        ],
    )
}

fn limits_held(files: &[File]) -> Findings {
    let limits = files.iter().filter(|file| file.path == "engine/src/limits.rs");
    let fields = limits.flat_map(|file| file.text.lines()).filter_map(|line| {
        let (name, _) = line.strip_prefix("    pub ")?.split_once(':')?;
        (!name.contains(['(', ' '])).then_some(name)
    });
    let held = |field: &&str| {
        files.iter().any(|file| {
            file.is("engine/src/", "rs")
                && file.path != "engine/src/limits.rs"
                && file.code().any(|(_, _, text)| text.contains(&format!(".{field}")))
        })
    };
    let (held, idle): (Vec<_>, Vec<_>) = fields.partition(held);
    let idle = idle.iter().filter(|field| !LIMITS_TO_COME.contains(field));
    let late = held.iter().filter(|field| LIMITS_TO_COME.contains(field));
    idle.map(|field| format!("engine/src/limits.rs: nothing holds `{field}`"))
        .chain(late.map(|field| format!("tests/tests/tidy.rs: `{field}` is held now: take it off the list")))
        .collect()
}

fn sleeps(files: &[File]) -> Findings {
    let waits = |file: &&File| {
        let tested = file.path.starts_with("engine/") || file.path.contains("tests/");
        tested && matches!(file.extension(), "rs" | "py")
    };
    let found = found(files.iter().filter(waits), &["thread::sleep", "time.sleep(", "asyncio.sleep("]);
    // To let others run, or to hang for ever, is no wait for a time; nor is a program in quotes, the pace of a load or
    // of a poll, or the random moment at which something is done to a process.
    let fine = |finding: &String| {
        [
            "asyncio.sleep(0)",
            "asyncio.sleep(3600)",
            "\"while True: time.sleep(",
            "sleep(PACE)",
            "sleep(moment)",
        ]
        .iter()
        .any(|fine| finding.contains(fine))
    };
    found.into_iter().filter(|finding| !fine(finding)).collect()
}

/// Lines of code that hold one of `words`.
fn found<'a>(files: impl Iterator<Item = &'a File>, words: &[&str]) -> Findings {
    files
        .flat_map(File::code)
        .filter(|(_, _, text)| words.iter().any(|word| text.contains(word)))
        .map(|(file, line, text)| format!("{}:{line}: {}", file.path, text.trim()))
        .collect()
}

/// The room that `engine/src/room.rs` or `engine/src/room/…` belongs to.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("engine/src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// The rooms that code names by `crate::room` or `crate::{room, …}`, with their lines.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let code: String =
        text.lines().map(|line| if is_comment(line) { "\n" } else { line }.to_owned() + "\n").collect();
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names =
            if let Some(list) = rest.strip_prefix('{') { top_level_names(list) } else { vec![word(rest)] };
        named.extend(names.into_iter().map(|name| (line, name)));
    }
    named
}

/// The first words of the items of `a::b, c::{d, e}, f}…`.
fn top_level_names(list: &str) -> Vec<String> {
    let mut names = vec![word(list.trim_start())];
    let mut depth = 0_usize;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

impl File {
    fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|extension| extension.to_str()).unwrap_or("")
    }

    fn is(&self, room: &str, extension: &str) -> bool {
        self.path.starts_with(room) && self.extension() == extension
    }

    /// Lines that are not comments, counted from 1. This file is left out: it holds the bad samples.
    fn code(&self) -> impl Iterator<Item = (&File, usize, &str)> {
        let own = self.path == "tests/tests/tidy.rs";
        let lines = self.text.lines().enumerate().filter(move |(_, line)| !own && !is_comment(line));
        lines.map(move |(line, text)| (self, line + 1, text))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files_from(samples: &[(&str, &str)]) -> Vec<File> {
    samples.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect()
}

/// The text files under `root`, without what was built or installed.
fn files_of(root: &Path) -> Vec<File> {
    const PASSED_OVER: &[&str] = &["target", "node_modules", "__pycache__", "dist", "corpus"];
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".npmrc" | ".gitignore");
            if hidden || PASSED_OVER.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push(File { path, text });
            }
        }
    }
    files
}
