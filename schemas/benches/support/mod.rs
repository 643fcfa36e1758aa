//! How the benches of all crates are run: by criterion, or so many times and nothing else, for `load-tests/instructions`.

use std::io::Write;

use criterion::Criterion;

/// A function that is measured.
pub(crate) struct Measured {
    /// As it is called in results.
    name: &'static str,
    /// Does it once.
    run: Box<dyn FnMut()>,
}

impl Measured {
    /// This function, under this name.
    pub(crate) fn new<T>(name: &'static str, mut run: impl FnMut() -> T + 'static) -> Self {
        Self { name, run: Box::new(move || drop(std::hint::black_box(run()))) }
    }
}

/// `--names` prints the names, `--times COUNT NAME` runs one of them so often; everything else is criterion's.
pub(crate) fn main(all: Vec<Measured>) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--names", ..] => {
            let names: String = all.iter().map(|measured| format!("{}\n", measured.name)).collect();
            std::io::stdout().write_all(names.as_bytes()).expect("somebody reads the names");
        }
        ["--times", count, name, ..] => {
            let count: usize = count.parse().expect("--times COUNT NAME");
            let mut measured = all.into_iter().find(|measured| measured.name == *name).expect("a known name");
            (0..count).for_each(|_| (measured.run)());
        }
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            for mut measured in all {
                criterion.bench_function(measured.name, |bencher| bencher.iter(|| (measured.run)()));
            }
            criterion.final_summary();
        }
    }
}
