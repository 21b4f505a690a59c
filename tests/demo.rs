//! The demo: every step passes, and a broken translation is noticed.

use tapway::cli::demo::{DemoOptions, Fault, Summary, run};

fn simulated(fault: Option<Fault>) -> (Summary, String) {
    let mut out = Vec::new();
    let options = DemoOptions { simulated: true, fault, ..DemoOptions::default() };
    let summary = run(options, &mut out).expect("the demo runs to its end");
    (summary, String::from_utf8(out).expect("the transcript is text"))
}

#[test]
fn simulated_demo_passes_every_step_and_tells_the_same_twice() {
    let (summary, transcript) = simulated(None);
    assert_eq!(summary.failed, 0, "{transcript}");
    assert_eq!(summary.passed, 12, "{transcript}");
    assert_eq!(simulated(None).1, transcript);
    println!("{transcript}");
}

#[test]
fn demo_fails_without_translation() {
    let (summary, transcript) = simulated(Some(Fault::NoTranslation));
    assert!(summary.failed > 0, "{transcript}");
    println!("{transcript}");
}

#[test]
fn demo_fails_when_the_port_is_not_published() {
    let (summary, transcript) = simulated(Some(Fault::NotPublished));
    assert!(summary.failed >= 4, "{transcript}");
}
