//! Webhooks about voice.

use serde_json::{Value, json};
use switchboard::Server;

use super::{http::HttpRequest, user::User};
use crate::{
    client::{config, open_second_of_two_nodes},
    hook_server::{HookAnswer, HookServer, SECRET},
};

#[tokio::test]
async fn webhook_guards_voice_rooms_on_all_nodes() {
    let answer = |body: &Value| match body["roomId"].as_str() {
        Some("closed") => {
            HookAnswer::Text(json!({ "allowed": false, "reason": "Staff only." }).to_string())
        }
        Some("broken") => HookAnswer::Text("[]".to_owned()),
        Some(_) | None => HookAnswer::Text(json!({ "allowed": true }).to_string()),
    };
    let hook = HookServer::start(answer).await;
    let url = &hook.url;
    let toml =
        format!("[access.webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nevents = [\"join\"]\n");
    let (_server, address) = open_second_of_two_nodes(Server::builder().config(config(&toml)));
    let ada = User::new(address).await;
    let (status, text) = ada.join_room("closed", "wav").text(address).await;
    assert_eq!((status, &*text), (403, "Staff only.\n"));
    let question = hook.next().await;
    assert_eq!(question["dialect"], "gostream");
    assert_eq!(question["clientId"], question["subject"]);
    let (status, _) = ada.join_room("broken", "wav").text(address).await;
    assert_eq!(status, 403);
    assert_eq!(HttpRequest::get("/listRoom").text(address).await.1, "[]");
    let _listener = ada.listen("open", "wav").await;
}
