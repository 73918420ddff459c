//! Building needs no protobuf compiler: the stand-in under `.cargo/protoc` does what the build asks of one.

#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use guilder_tests::binary;

/// PATH without any `protoc`: a folder that has one is replaced by links to all else in it.
fn path_without_protoc(scratch: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap();
    let folders = env::split_paths(&path).enumerate().map(|(index, folder)| {
        if !folder.join("protoc").exists() {
            return folder;
        }
        let links = scratch.join(index.to_string());
        fs::create_dir(&links).unwrap();
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_name() != "protoc" {
                symlink(entry.path(), links.join(entry.file_name())).unwrap();
            }
        }
        links
    });
    env::join_paths(folders.collect::<Vec<PathBuf>>()).unwrap()
}

#[test]
fn protobuf_definitions_compile_without_a_protobuf_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let (proto, out) = (dir.path().join("coin.proto"), dir.path().join("coin.bin"));
    fs::write(&proto, "syntax = \"proto3\";\npackage guild;\nmessage Coin { uint64 amount = 7; string unit = 9; }\n")
        .unwrap();
    let path = path_without_protoc(dir.path());
    let mut protoc = Command::new(binary::file(".cargo/protoc/protoc"));
    protoc.env("PATH", &path).args(["--include_imports", "--include_source_info", "-o"]).arg(&out);
    // As prost-build calls it.
    protoc.arg("-I").arg(dir.path()).arg(&proto);
    let ran = protoc.output().unwrap();
    assert!(ran.status.success(), "{protoc:?}\n{}", String::from_utf8_lossy(&ran.stderr));

    // FileDescriptorSet.file = 1; FileDescriptorProto.name = 1, .package = 2, .message_type = 4;
    // DescriptorProto.name = 1, .field = 2; FieldDescriptorProto.name = 1, .number = 3
    let set = Message::read(&fs::read(&out).unwrap());
    let file = set.message(1);
    assert_eq!((file.text(1), file.text(2)), ("coin.proto".into(), "guild".into()));
    let coin = file.message(4);
    assert_eq!(coin.text(1), "Coin");
    let fields: Vec<_> = coin.messages(2).iter().map(|field| (field.text(1), field.number(3))).collect();
    assert_eq!(fields, [("amount".into(), 7), ("unit".into(), 9)]);
}

/// A protobuf message by field numbers: as much of the format as descriptors use.
struct Message(Vec<(u64, Value)>);

enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    fn read(mut rest: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = varint(&mut rest);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut rest)),
                2 => {
                    let length = varint(&mut rest) as usize;
                    let (bytes, after) = rest.split_at(length);
                    rest = after;
                    Value::Bytes(bytes.to_vec())
                }
                other => panic!("no descriptor has a field of wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn bytes(&self, field: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter_map(move |(number, value)| match value {
            Value::Bytes(bytes) if *number == field => Some(&bytes[..]),
            _ => None,
        })
    }

    fn messages(&self, field: u64) -> Vec<Self> {
        self.bytes(field).map(Self::read).collect()
    }

    fn message(&self, field: u64) -> Self {
        Self::read(self.bytes(field).next().unwrap())
    }

    fn text(&self, field: u64) -> String {
        String::from_utf8(self.bytes(field).next().unwrap().to_vec()).unwrap()
    }

    fn number(&self, field: u64) -> u64 {
        let found = self.0.iter().find_map(|(number, value)| match value {
            Value::Number(value) if *number == field => Some(*value),
            _ => None,
        });
        found.unwrap()
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, after) = rest.split_first().unwrap();
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
