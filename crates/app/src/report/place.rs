//! Where and with what a report was made: the machine, the versions, the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use paceline_core::Timestamp;

use super::types::Machine;

/// Now, by the system's clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// This machine, as far as it tells; what it does not tell is `unknown` or 0.
#[must_use]
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    Machine {
        cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(|| format!("unknown {}", std::env::consts::ARCH)),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: memory_bytes(&read("/proc/meminfo")).unwrap_or(0),
        os: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Versions of Paceline, of the compiler that built it, and of the LightGBM at `lightgbm`.
#[must_use]
pub fn versions(lightgbm: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("paceline".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("rustc".to_owned(), env!("PACELINE_RUSTC").to_owned()),
        ("lightgbm".to_owned(), lightgbm_version(lightgbm).unwrap_or_else(|| "unknown".to_owned())),
    ])
}

/// The library does not tell its version, but what lies beside it does: `make setup` leaves the list of what it brought,
/// the Python package a file.
fn lightgbm_version(library: &Path) -> Option<String> {
    let folder = library.parent()?;
    let locked = fs::read_to_string(folder.join("runtime.lock")).ok().and_then(|lock| {
        let line = lock.lines().find_map(|line| line.strip_prefix("lightgbm=="))?;
        line.split_whitespace().next().map(str::to_owned)
    });
    let packaged = || fs::read_to_string(folder.parent()?.join("VERSION.txt")).ok().map(|text| text.trim().to_owned());
    locked.or_else(packaged).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.80GHz\nmodel name\t: other\n";
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some("Intel(R) Xeon(R) CPU @ 2.80GHz"));
        assert_eq!(memory_bytes("MemTotal:       24609048 kB\nMemFree: 1 kB\n"), Some(24_609_048 << 10));
        assert_eq!((cpu_model(""), memory_bytes("MemTotal:")), (None, None));
        assert!(now() > "2024-01-01".parse().unwrap());
    }

    #[test]
    fn the_version_of_lightgbm_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib").join("lib_lightgbm.so");
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        assert_eq!(versions(&library)["lightgbm"], "unknown");
        fs::write(folder.path().join("VERSION.txt"), "4.5.0\n").unwrap();
        assert_eq!(versions(&library)["lightgbm"], "4.5.0");
        fs::write(library.with_file_name("runtime.lock"), "# wheels\nlightgbm==4.6.0 \\\n    --hash=x\n").unwrap();
        assert_eq!(versions(&library)["lightgbm"], "4.6.0");
    }
}
