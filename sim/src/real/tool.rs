//! Programs of the system: `ip`, `tc`, `mount`, `umount`.

use std::process::{Command, Stdio};

use super::error::RealError;

/// Runs `program` and returns what it wrote to standard output. Takes milliseconds, so it may be called from tasks; what
/// undoes a fault must also work without a runtime.
///
/// # Errors
/// It cannot be started, or ends with another code than 0.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, RealError> {
    let failed = |reason: String| RealError::Tool {
        command: format!("{program} {}", arguments.join(" ")),
        reason,
    };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
