//! Explanations and shares over the API for people.

use crate::harness::Server;

#[test]
fn why_a_job_and_a_task_wait_is_told_in_one_sentence() {
    let server = Server::start();
    let task = server.submit("why", 1);
    let job = server.get("/ailurus/v1/jobs/1/explain").json();
    let sentence = job["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("job 1 waits at"), "{sentence}");
    assert_eq!(job["queues"].as_array().unwrap().len(), 1);
    let path = format!("/ailurus/v1/tasks/{task}/explain");
    let sentence = server.get(&path).json()["sentence"].to_string();
    assert!(sentence.contains("job 1 waits at"), "{sentence}");
    assert_eq!(server.get("/ailurus/v1/jobs/99/explain").status, 404);
    assert_eq!(
        server.get("/ailurus/v1/shares").json(),
        serde_json::json!([])
    );
}
