//! Just enough of the Redis protocol to steer a server.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

/// Sends one command over a new connection. Arrays come as one line for each item; errors begin with `-`.
pub(crate) fn command(port: u16, arguments: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut request = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    stream.write_all(request.as_bytes())?;
    reply(&mut BufReader::new(stream))
}

fn reply(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let length = || rest.parse::<i64>().map_err(io::Error::other);
    match kind {
        "$" if length()? >= 0 => {
            let mut bytes = vec![0; length()? as usize + 2];
            from.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" if length()? >= 0 => {
            let items: io::Result<Vec<String>> = (0..length()?).map(|_| reply(from)).collect();
            Ok(items?.join("\n"))
        }
        "-" => Ok(line.to_owned()),
        "$" | "*" => Ok(String::new()),
        _ => Ok(rest.to_owned()),
    }
}
