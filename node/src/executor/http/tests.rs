#![allow(clippy::unwrap_used)]
use std::{path::Path, sync::Arc, time::Duration};

use guilder_protocol::{
    cbor,
    identity::AgentId,
    limits::{MAX_CONTENT, MAX_INLINE},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{
    executor::{Definition, Limits, Reporter, definition::Run},
    runtime::{self, Runtime},
};

struct Bench {
    _dir: TempDir,
    content: Content,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::production(runtime::Limits::default());
        let content = Content::open(dir.path().join("content"), runtime).await.unwrap();
        Self { _dir: dir, content }
    }

    async fn ask(&self, url: &str, input: Data, output_bytes: u64, time: Duration) -> Result<Output, ExecError> {
        self.ask_reported(url, input, output_bytes, time, Reporter::default()).await
    }

    async fn ask_reported(
        &self,
        url: &str,
        input: Data,
        output_bytes: u64,
        time: Duration,
        reporter: Reporter,
    ) -> Result<Output, ExecError> {
        let text = format!(
            "name = \"test.it\"\nprice = 1\nunit = \"sat\"\n[run.http]\nurl = \"{url}\"\n\
             headers = {{ authorization = \"Bearer hush\" }}"
        );
        let definition = Definition::from_toml(&text, Path::new("/")).unwrap();
        let Run::Http(settings) = definition.run else { unreachable!() };
        let limits = Limits { time, output_bytes, memory_bytes: 0 };
        let (award, buyer) = (cbor::cid_of(b"award"), AgentId::from_bytes([5; 32]));
        let access = Some(TaskAccess { url: "http://127.0.0.1:1".into(), token: "name.secret".into() });
        let work = Work { award, service: definition.name, buyer, input, limits, reporter, access };
        Http::new(settings, self.content.clone()).run(work).await
    }
}

/// A server that handles one connection as told.
async fn server<F, Fut>(handle: F) -> (String, JoinHandle<()>)
where
    F: FnOnce(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/run?x=1", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        handle(stream).await;
    });
    (url, task)
}

/// Reads a request: its head, and as much of the body as its length says.
async fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0);
        bytes.extend_from_slice(&buffer[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = bytes[end..].to_vec();
    let at = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[at..]).await.unwrap();
    (head, body)
}

const LONG: Duration = Duration::from_secs(20);

fn small(text: &'static str) -> Data {
    Data::Inline(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn the_input_is_posted_and_the_answer_is_the_output() {
    let bench = Bench::new().await;
    let (url, served) = server(|mut stream| async move {
        let (head, body) = read_request(&mut stream).await;
        assert_eq!(body, b"input");
        assert!(head.starts_with("POST /run?x=1 HTTP/1.1\r\n"), "{head}");
        let award = cbor::cid_of(b"award");
        for line in [
            format!("host: {}", stream.local_addr().unwrap()),
            format!("idempotency-key: {award}"),
            format!("guilder-award: {award}"),
            "guilder-service: test.it".into(),
            format!("guilder-buyer: {}", AgentId::from_bytes([5; 32])),
            "authorization: Bearer hush".into(),
        ] {
            assert!(head.lines().any(|found| found == line), "{line} is missing in\n{head}");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nout!\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    assert_eq!(bench.ask(&url, small("input"), 100, LONG).await.unwrap(), small("out!"));
    served.await.unwrap();
}

#[tokio::test]
async fn large_data_streams_both_ways() {
    let bench = Bench::new().await;
    let input = bench.content.put(Bytes::from(vec![7; 5 << 20])).await.unwrap();
    let (url, served) = server(|mut stream| async move {
        let (_, body) = read_request(&mut stream).await;
        let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let output = bench.ask(&url, Data::Stored(input.clone()), MAX_CONTENT, LONG).await.unwrap();
    assert!(output.size() > MAX_INLINE as u64);
    assert_eq!(output.id(), input.id());
    served.await.unwrap();
}

/// Serves these bytes whatever is asked, then closes.
async fn canned(answer: Vec<u8>) -> String {
    let serve = |mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&answer).await;
    };
    server(serve).await.0
}

#[tokio::test]
async fn other_answers_are_failures() {
    let bench = Bench::new().await;
    for (answer, told) in [
        ("HTTP/1.1 500 Oops\r\ncontent-length: 12\r\n\r\nno model yet", "answered with status 500: no model yet"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n",
            "answered with status 302",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "answered with status 404"),
    ] {
        let error = bench.ask(&canned(answer.into()).await, small("x"), 100, LONG).await.unwrap_err();
        assert!(matches!(error, ExecError::BadStatus { .. }) && error.to_string().ends_with(told), "{error}");
        assert!(!error.public_text().contains("model") && !error.public_text().contains("127."));
    }
    for (why, answer) in [
        ("nothing", &b""[..]),
        ("garbage", b"\x16\x03\x01 what"),
        ("cut off", b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf"),
        ("bad chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ] {
        let error = bench.ask(&canned(answer.to_vec()).await, small("x"), 100, LONG).await.unwrap_err();
        assert!(matches!(error, ExecError::NoAnswer { .. }), "{why}: {error}");
    }
    let huge_head = [b"HTTP/1.1 200 OK\r\nx: ", &vec![b'y'; 2 << 20][..], b"\r\n\r\n"].concat();
    let error = bench.ask(&canned(huge_head).await, small("x"), 100, LONG).await.unwrap_err();
    assert!(matches!(error, ExecError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn a_failure_of_any_length_is_quoted_in_part() {
    let bench = Bench::new().await;
    let answer = [b"HTTP/1.1 503 Busy\r\n\r\n", &vec![b'y'; 1 << 20][..]].concat();
    let error = bench.ask(&canned(answer).await, small("x"), 100, LONG).await.unwrap_err();
    let ExecError::BadStatus { body, .. } = error else { panic!("{error}") };
    assert_eq!(body.len(), MAX_COMPLAINT);
}

#[tokio::test]
async fn an_output_over_the_limit_is_stopped() {
    let bench = Bench::new().await;
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n".to_vec();
    let flood = [b"HTTP/1.1 200 OK\r\n\r\n", &vec![b'y'; 3 << 20][..]].concat();
    for (answer, limit) in [(announced, 100), (flood.clone(), 100), (flood, 1 << 20)] {
        let error = bench.ask(&canned(answer).await, small("x"), limit, LONG).await.unwrap_err();
        assert!(matches!(error, ExecError::OutputTooLarge { limit_bytes } if limit_bytes == limit), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_and_too_slow() {
    let bench = Bench::new().await;
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let error = bench.ask(&url, small("x"), 100, LONG).await.unwrap_err();
    assert!(matches!(&error, ExecError::NoAnswer { .. }) && error.to_string().contains("refused"), "{error}");

    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let (url, _served) = server(|mut stream| async move {
        read_request(&mut stream).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the connection is closed");
        tell.notify_one();
    })
    .await;
    let error = bench.ask(&url, small("x"), 100, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ExecError::TimedOut { secs: 1 }), "{error}");
    tokio::time::timeout(LONG, closed.notified()).await.unwrap();
}

#[tokio::test]
async fn an_early_answer_is_taken() {
    let bench = Bench::new().await;
    let input = bench.content.put(Bytes::from(vec![7; 20 << 20])).await.unwrap();
    let (url, _served) = server(|mut stream| async move {
        stream.read_exact(&mut [0; 10]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nbig!").await.unwrap();
        let mut buffer = vec![0; 1 << 16];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let error = bench.ask(&url, Data::Stored(input), 100, LONG).await.unwrap_err();
    assert!(error.to_string().ends_with("status 413: big!"), "{error}");
}

/// An answer with these events.
fn stream_of(events: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n\r\n{events}").into_bytes()
}

#[tokio::test]
async fn a_stream_of_events_reports_progress_before_its_output() {
    let bench = Bench::new().await;
    let (go_on, told_to) = tokio::sync::oneshot::channel();
    let (url, served) = server(|mut stream| async move {
        let (head, _) = read_request(&mut stream).await;
        assert!(head.contains("accept: text/event-stream, */*\r\n"), "{head}");
        let begun = stream_of("event: progress\ndata: 40% page 2\n\nevent: partial\ndata: The first\n\n");
        stream.write_all(&begun).await.unwrap();
        told_to.await.unwrap();
        stream.write_all(b"event: output\ndata: The first words.\n\n").await.unwrap();
        // it need not close
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let (reporter, mut reports) = crate::executor::progress::channel();
    let watch = async {
        let (mut permille, mut words) = (None, String::new());
        while permille != Some(400) || words != "The first" {
            let report = reports.next().await.unwrap();
            permille = report.permille.or(permille);
            words += &report.partial;
        }
        go_on.send(()).unwrap();
    };
    let (output, ()) = tokio::join!(bench.ask_reported(&url, small("x"), 100, LONG, reporter), watch);
    assert_eq!(output.unwrap(), small("The first words."));
    served.await.unwrap();
}

#[tokio::test]
async fn a_stream_of_events_without_an_output_is_a_failure() {
    let bench = Bench::new().await;
    for events in ["", "event: partial\ndata: x\n\n", "event: output\ndata: cut o", "data: {}\n\n"] {
        let error = bench.ask(&canned(stream_of(events)).await, small("x"), 100, LONG).await.unwrap_err();
        assert!(matches!(&error, ExecError::NoAnswer { why, .. } if why.contains("ended before")), "{events}: {error}");
    }
    let events = "event: error\ndata: no model\n\n";
    let error = bench.ask(&canned(stream_of(events)).await, small("x"), 100, LONG).await.unwrap_err();
    assert!(error.to_string().ends_with("reported an error: no model"), "{error}");
    assert!(!error.public_text().contains("model") && !error.public_text().contains("127."));
}

#[tokio::test]
async fn an_output_in_a_stream_of_events_has_the_same_limit() {
    let bench = Bench::new().await;
    let events = format!("event: output\ndata: {}\n\n", "y".repeat(3 << 20));
    let url = canned(stream_of(&events)).await;
    let error = bench.ask(&url, small("x"), 1 << 20, LONG).await.unwrap_err();
    assert!(matches!(error, ExecError::OutputTooLarge { limit_bytes } if limit_bytes == 1 << 20), "{error}");
    let output = bench.ask(&canned(stream_of(&events)).await, small("x"), MAX_CONTENT, LONG).await.unwrap();
    assert_eq!(output.size(), 3 << 20);
}
