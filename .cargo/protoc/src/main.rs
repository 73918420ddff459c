//! The part of `protoc` that `prost-build` calls: compile `.proto` files and write a descriptor set.
//!
//! `protoc --include_imports --include_source_info -o OUT -I DIR... FILE...`; other `--` options have no effect
//! on the descriptor set and are passed over.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let mut includes = Vec::<PathBuf>::new();
    let mut files = Vec::<PathBuf>::new();
    let mut out = None::<PathBuf>;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // The version whose language features `protox` covers; prost-build only asks whether it is new enough.
            "--version" => {
                println!("libprotoc 31.1");
                return Ok(());
            }
            "-I" => includes.extend(args.next().map(PathBuf::from)),
            "-o" => out = args.next().map(PathBuf::from),
            option if option.starts_with("--") => {}
            option if option.starts_with("-I") => includes.push(option[2..].into()),
            option if option.starts_with("-o") => out = Some(option[2..].into()),
            file => files.push(file.into()),
        }
    }
    let set = protox::compile(files, includes)?;
    fs::write(out.ok_or("protoc: no -o FILE given")?, set.encode_to_vec())?;
    Ok(())
}
