#![allow(clippy::unwrap_used)]
use super::*;

const SMALLEST: &str = "name = \"text.summarize\"\nprice = 5\nunit = \"sat\"\nrun = \"echo\"\n";

fn read(text: &str) -> Result<Definition, DefinitionError> {
    Definition::from_toml(text, Path::new("/nowhere"))
}

fn complaint(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// The smallest definition with one more line, or one line in another form.
fn with(line: &str) -> String {
    let name = line.split('=').next().unwrap();
    let kept = SMALLEST.lines().filter(|kept| !kept.starts_with(name) || name.is_empty());
    std::iter::once(line).chain(kept).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_smallest_definition_has_documented_defaults() {
    let definition = read(SMALLEST).unwrap();
    assert_eq!(definition.name.as_str(), "text.summarize");
    assert_eq!((definition.price, definition.unit.as_str()), (5, "sat"));
    assert_eq!((definition.concurrency, definition.time_limit_secs, definition.memory_mb), (1, 60, 512));
    assert_eq!((definition.max_input_bytes, definition.max_output_bytes), (1 << 20, 1 << 20));
    assert_eq!((definition.input, definition.output, definition.run), (None, None, Run::Echo));
}

/// The example in the module's documentation is a definition.
#[test]
fn the_documented_example_reads() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("input.schema.json"), "{\"type\": \"object\"}").unwrap();
    let source = include_str!("../definition.rs");
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let block: Vec<_> =
        lines.skip_while(|line| *line != " ```toml").skip(1).take_while(|line| *line != " ```").collect();
    let definition = Definition::from_toml(&block.join("\n"), dir.path()).unwrap();
    assert_eq!(definition.input.as_deref(), Some("{\"type\": \"object\"}"));
    assert!(definition.output.as_deref().unwrap().contains("\"required\":[\"summary\"]"));
    let Run::Process(process) = &definition.run else { panic!("{:?}", definition.run) };
    assert_eq!(process.command, ["/usr/local/bin/summarize", "--short"]);
    assert_eq!(process.pass_env, ["CUDA_VISIBLE_DEVICES"]);
    // and the other ways to run it
    let others: Vec<_> =
        block.iter().filter_map(|line| line.strip_prefix(" # or: ").or(line.strip_prefix(" # "))).collect();
    let http = format!("{}\n{}", SMALLEST.replace("run = \"echo\"", ""), others[..4].join("\n"));
    let Run::Http(http) = read(&http).unwrap().run else { panic!("{http}") };
    assert_eq!((http.url.as_str(), http.allow_remote), ("http://127.0.0.1:8080/summarize", false));
    let mcp = others[4..8].join("\n").replace("6f1c…", &"6f1c".repeat(16));
    let Run::Mcp(mcp) = read(&format!("{}\n{mcp}", SMALLEST.replace("run = \"echo\"", ""))).unwrap().run else {
        panic!("{mcp}")
    };
    assert_eq!((mcp.command[0].as_str(), mcp.tool.as_str()), ("npx", "search"));
    assert!(others.last().unwrap().starts_with("run = \"echo\""));
}

#[test]
fn it_reads_back_from_the_store() {
    let definition = read(&with("input = '{\"type\": \"string\"}'")).unwrap();
    let bytes = guilder_protocol::cbor::encode(&definition);
    assert_eq!(guilder_protocol::cbor::decode::<Definition>(&bytes).unwrap(), definition);
}

#[test]
fn every_mistake_is_told() {
    for (line, told) in [
        ("nmae = \"x\"", "unknown field `nmae`"),
        ("name = \"Text\"", "not the name of a service"),
        ("price = 0", "`price` must be at least 1"),
        ("price = -1", "-1"),
        ("unit = \"SAT\"", "not a unit"),
        ("mints = [\"mint.example\"]", "not the URL of a mint"),
        ("mints = [\"https://a.example\", \"https://a.example\"]", "`mints` must be each only once"),
        ("concurrency = 0", "`concurrency` must be between 1 and 1024"),
        ("time_limit_secs = 0", "`time_limit_secs`"),
        ("time_limit_secs = 100000", "`time_limit_secs`"),
        ("memory_mb = 0", "`memory_mb`"),
        ("max_input_bytes = 67108865", "`max_input_bytes` must be at most 67108864"),
        ("max_output_bytes = 67108865", "`max_output_bytes` must be at most 67108864"),
        ("input = {}\nmax_input_bytes = 67108864", "at most 8388608 (8 MiB) where the input has a schema"),
        ("input = \"missing.json\"", "can't be read from \"missing.json\""),
        ("input = 1979-05-27", "a schema is a path, JSON text or a table"),
        ("run = \"shell\"", "unknown variant `shell`"),
        ("run = { process = { command = [] } }", "`run.process.command` must be a list that begins with the program"),
        ("run = { process = { command = [\"x\"], env = { \"a=b\" = \"\" } } }", "no `=`"),
        ("run = { process = { command = [\"x\"], env = { GUILDER_AWARD = \"\" } } }", "GUILDER_"),
        ("run = { process = { command = [\"x\"], pass_env = [\"GUILDER_HOME\"] } }", "GUILDER_"),
        ("run = { process = { command = [\"x\"], shell = true } }", "unknown field `shell`"),
        ("run = { http = { url = \"ftp://127.0.0.1/\" } }", "http://"),
        ("run = { http = { url = \"https://service.example/\" } }", "allow_remote = true"),
        ("run = { http = { url = \"http://192.168.0.7/\" } }", "allow_remote = true"),
        ("run = { http = { url = \"http://localhost.evil.example/\" } }", "allow_remote = true"),
        ("run = { http = { url = \"http://127.0.0.1@evil.example/\" } }", "http://"),
        ("run = { http = { url = \"http://127.0.0.1/\", headers = { host = \"x\" } } }", "headers"),
        ("run = { http = { url = \"http://127.0.0.1/\", headers = { guilder-token = \"x\" } } }", "sets itself"),
        ("run = { http = { url = \"http://127.0.0.1/\", headers = { \"a b\" = \"x\" } } }", "valid header names"),
    ] {
        let complaint = complaint(&with(line));
        assert!(complaint.contains(told), "{line}\n{complaint}");
    }
    assert!(complaint("price = 1").contains("missing field `name`"));
    let long = format!("description = \"{}\"", "x".repeat(2000));
    assert!(complaint(&with(&long)).contains("`description`"));
    assert!(read(&with("run = { http = { url = \"http://192.168.0.7/\", allow_remote = true } }")).is_ok());
    for url in ["http://localhost:8080", "http://[::1]:1/x?y=z", "http://127.9.9.9", "https://127.0.0.1/"] {
        assert!(read(&with(&format!("run = {{ http = {{ url = \"{url}\" }} }}"))).is_ok(), "{url}");
    }
}

#[test]
fn a_schema_can_be_a_file_a_table_or_text() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.json"), "{\"type\":\"string\"}").unwrap();
    for line in ["input = \"in.json\"", "input = { type = \"string\" }", "input = ' {\"type\":\"string\"}'"] {
        let definition = Definition::from_toml(&with(line), dir.path()).unwrap();
        assert_eq!(definition.input.unwrap().trim(), "{\"type\":\"string\"}");
    }
    std::fs::write(dir.path().join("big.json"), vec![b' '; 10 << 20]).unwrap();
    let error = Definition::from_toml(&with("input = \"big.json\""), dir.path()).unwrap_err();
    assert!(matches!(error, DefinitionError::Schema { field: "input", error: SchemaError::TooLarge(_) }), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    for line in [
        "run = { process = { command = [\"x\", \"--key=hush\"], env = { KEY = \"hush\" } } }",
        "run = { http = { url = \"http://127.0.0.1/\", headers = { authorization = \"Bearer hush\" } } }",
    ] {
        let shown = format!("{:?}", read(&with(line)).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[test]
fn a_program_is_looked_for_beside_the_file_or_on_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let definition = |program: &str| {
        let run = format!("run = {{ process = {{ command = [\"{program}\"] }} }}");
        let text = format!("name = \"a.b\"\nprice = 1\nunit = \"sat\"\n{run}");
        Definition::from_toml(&text, folder.path()).unwrap()
    };
    let beside = definition("./work.sh");
    let missing = beside.find_program().unwrap_err();
    assert!(missing.to_string().contains("work.sh") && missing.hint().is_some(), "{missing}");
    let path = folder.path().join("work.sh");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    assert!(beside.find_program().is_err(), "it can't be executed");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    beside.find_program().unwrap();
    definition("sh").find_program().unwrap();
    assert!(definition("no-such-program-anywhere").find_program().is_err());
}
