"""Money: what the page shows is what the verbs print, and what is done on it is done on the chain."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from support.pages import change_answers
from support.processes.nodes import EMBEDDED, Node, command_json, wait_for
from web.parts import OPEN_WEI, OpenPage, amount, carry_out, tile

MINED_MS = 30_000
STEPS = ["Deposit", "Voucher", "Receipt", "Claim", "Payout list", "Draw", "Withdrawal"]


def verb(node: Node, *words: str) -> dict[str, Any]:
    return command_json(node.home, *words, **EMBEDDED)


@pytest.fixture
def page(earner: Node, open_page: OpenPage) -> Page:
    opened = open_page(earner, "money")
    opened.locator(".way").wait_for()
    return opened


def panel(page: Page, name: str) -> Locator:
    return page.locator(f'.panel[aria-label="{name}"]')


def test_tiles_the_seven_steps_and_the_division_are_what_the_commands_print(page: Page, earner: Node) -> None:
    stake, rewards = verb(earner, "stake", "show"), verb(earner, "rewards", "show")
    for label, wei in (
        ("Wallet", stake["wallet_open_wei"]),
        ("Ready to withdraw", rewards["balance_wei"]),
        ("Staked", stake["bonded_wei"]),
        ("In channels", verb(earner, "channels", "list")["left_as_payer_wei"]),
        ("Gas today", rewards["gas_today_wei"]),
    ):
        value = tile(page, label).locator(".value .amount")
        expect(value).to_have_text(amount(wei))
        expect(value).to_have_attribute("title", f"{wei} wei")
    newest = verb(earner, "attribution", "show")["receipts"][0]["digest"]
    found = verb(earner, "attribution", "show", newest, "--follow")
    steps = page.locator(".way li")
    assert steps.count() == len(STEPS)
    for place, step in enumerate(found["steps"]):
        expect(steps.nth(place)).to_have_attribute("data-state", step["state"])
        expect(steps.nth(place)).to_contain_text(STEPS[place])
        if step["hash"]:
            expect(steps.nth(place).locator(f'code[title="{step["hash"]}"]')).to_be_visible()
    way = panel(page, "One OPEN")
    expect(way.locator("tr.sum").first).to_contain_text("1.000000")
    expect(steps.nth(0)).to_contain_text("as paid")
    expect(steps.nth(2)).not_to_contain_text("as paid")
    way.locator("button", has_text="Show as paid").click()
    expect(steps.nth(0)).not_to_contain_text("as paid")
    for part in found["as_paid"]["parts"]:
        expect(way.locator(f'.amount[title="{part["amount_wei"]} wei"]').first).to_be_attached()
    expect(way.locator("tr.sum").first).to_contain_text(amount(found["amount_wei"]))
    assert sum(int(part["amount_wei"]) for part in found["as_paid"]["parts"]) == int(found["amount_wei"])


def test_stake_is_added_from_the_page_by_keys_alone_and_the_verb_says_so(page: Page, earner: Node) -> None:
    before = int(verb(earner, "stake", "show")["bonded_wei"])
    field = page.locator("#stake-amount")
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("2.5")
    expect(panel(page, "Stake").locator(".cli code")).to_have_text("openledger-node stake add 2.5")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Gas, at most")
    expect(dialog.locator("button", has_text="Cancel")).to_be_focused()
    wallet = int(verb(earner, "stake", "show")["wallet_open_wei"])
    expect(dialog).to_contain_text(amount(wallet - 25 * 10**17))
    expect(dialog.locator(".cli code")).to_have_text("openledger-node stake add 2.5")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog.locator(".chip")).to_contain_text(re.compile("mined|final"), timeout=MINED_MS)
    expect(dialog).to_contain_text("0x")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(field).to_be_visible()
    bonded = int(verb(earner, "stake", "show")["bonded_wei"])
    assert bonded == before + 25 * 10**17
    expect(tile(page, "Staked").locator(".value")).to_contain_text(amount(bonded))
    newest = verb(earner, "wallet", "history", "--limit", "1")["transactions"][0]
    assert newest["summary"] == "bond 2.5 OPEN"
    expect(panel(page, "Transactions").locator("tbody tr").first).to_contain_text("bond 2.5 OPEN")


def test_rewards_are_withdrawn_from_the_page_and_the_last_step_is_done(page: Page, earner: Node) -> None:
    balance = int(verb(earner, "rewards", "show")["balance_wei"])
    assert balance > 0
    take = panel(page, "Claims").locator("button", has_text="Withdraw")
    expect(take).to_have_text(f"Withdraw {amount(balance)}…")
    take.click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text(amount(balance))
    carry_out(page)
    wait_for(lambda: verb(earner, "rewards", "show")["balance_wei"] == "0")
    expect(tile(page, "Ready to withdraw").locator(".value")).to_contain_text("0.000000")
    expect(page.locator(".way li").last).to_have_attribute("data-state", "done")
    assert verb(earner, "earnings")["withdrawn_wei"] == str(balance)


def test_each_button_asks_the_chain_about_its_own_command(page: Page) -> None:
    """Stake, channels and bonds are in states that this node does not have."""
    used, left, leaving, published, retired = ("0x" + digits * 32 for digits in ("aa", "bb", "ee", "cc", "dd"))
    channel = {"role": "payer", "node": used, "payer": used, "deposit_wei": "9", "charged_wei": "1", "left_wei": "8"}
    bond = {"name": None, "bond_wei": "5", "free_at_s": 1, "royalty_ppm": 0}

    def change(path: str, content: Any) -> None:
        if path == "/money/stake":
            content |= {"unbonding": [{"amount_wei": "7", "ready_at_s": s} for s in (1, 2**40)]}
        if path == "/money/channels":
            state = {**channel, "last_receipt_at": None, "is_retired": False}
            content["channels"] = [
                {**state, "channel_id": name, "withdrawing_wei": wei, "ready_at_s": ready_at_s}
                for name, wei, ready_at_s in ((used, "0", 1), (left, "8", 1), (leaving, "8", 2**40))
            ]
        if path == "/money/earnings":
            content["adapter_bonds"] = [
                {**bond, "adapter_id": published, "state": "published"},
                {**bond, "adapter_id": retired, "state": "retired"},
            ]

    plan = {"steps": [], "fee_wei": "0", "wallet_after_wei": None, "gas_left_wei": "0", "plan": "a"}
    change_answers(page, change)
    page.route("**/money/plan", lambda route: route.fulfill(json=plan))

    def check(key: str, command: str, arguments: dict[str, Any], typed: dict[str, str]) -> None:
        with page.expect_request("**/money/plan") as asked:
            page.locator(f'[data-key="{key}"]').click()
            for field, text in typed.items():
                page.locator(f"#{field}").fill(text)
            if typed:
                page.locator("dialog button", has_text="Continue").click()
        sent = asked.value.post_data_json
        assert (sent["verb"], sent["arguments"]) == (command, arguments)
        page.keyboard.press("Escape")

    expect(panel(page, "Stake")).to_contain_text("free in")
    expect(panel(page, "Channels")).to_contain_text("closing")
    page.locator("#stake-amount").fill("2")
    check("stake remove", "stake remove", {"amount_wei": str(2 * OPEN_WEI)}, {})
    check("stake withdraw", "stake withdraw", {}, {})
    form = {"channel-node": used, "channel-generation": left, "ask-amount": "3"}
    opened = {"node": used, "amount_wei": str(3 * OPEN_WEI), "withdraw_delay_s": None, "generation": left}
    check("open channel", "channels open", opened, form)
    check(
        f"top-up {used[:14]}",
        "channels top-up",
        {"channel_id": used, "amount_wei": str(OPEN_WEI // 2)},
        {"ask-amount": "0.5"},
    )
    check(f"close {used[:14]}", "channels close", {"channel_id": used}, {})
    check(f"withdraw {left[:14]}", "channels withdraw", {"channel_id": left}, {})
    check(f"retire {published}", "adapters retire", {"adapter": published}, {})
    check(f"reclaim {retired}", "adapters reclaim", {"adapter": retired}, {})


def sent(state: str, error: str | None = None) -> dict[str, Any]:
    return {"key": "a", "summary": "bond 1 OPEN", "state": state, "hash": None, "error": error}


def test_the_heading_follows_the_transactions_until_they_are_final(page: Page, earner: Node) -> None:
    told = [["sent", "sent"], ["mined", "sent"], ["mined", "mined"], ["final", "final"]]
    page.clock.install()
    page.route("**/money/act", lambda route: route.fulfill(json={"transactions": [sent(each) for each in told[0]]}))
    page.route(
        "**/money/transactions", lambda route: route.fulfill(json={"transactions": [sent(each) for each in told[0]]})
    )
    page.locator("#stake-amount").fill("1")
    page.locator('[data-key="stake add"]').click()
    dialog = page.locator("dialog")
    expect(dialog.locator("h2")).to_have_text("Add 1.000000 OPEN")
    dialog.locator("button.primary").click()
    for heading in ("Sent", "Mined 1 of 2", "Mined 2 of 2", "Final"):
        expect(dialog.locator("h2")).to_have_text(f"{heading}: Add 1.000000 OPEN")
        told[:1] = []
        page.clock.run_for(1000)
    wallet = verb(earner, "stake", "show")["wallet_open_wei"]
    expect(dialog.locator("tr", has_text="Wallet now")).to_contain_text(amount(wallet))
    expect(dialog.locator("tr", has_text="Amount")).to_contain_text("1.000000 OPEN")
    expect(dialog).to_contain_text("The stake counts from now on.")


def test_a_transaction_that_fails_is_no_good_news_and_what_would_is_refused_in_place_of_the_button(
    page: Page, seen: Any
) -> None:
    seen.is_forgiven = True  # the refusal is an answer with status 400
    dialog, add = page.locator("dialog"), page.locator('[data-key="stake add"]')
    page.locator("#stake-amount").fill("much")
    add.click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#stake-amount")).to_have_attribute("aria-invalid", "true")
    page.locator("#stake-amount").fill("60000000")
    add.click()
    expect(dialog.locator(".note")).to_contain_text("the contract refuses")
    expect(dialog.locator("button.primary")).to_have_count(0)
    page.keyboard.press("Escape")

    failed = {"transactions": [sent("mined"), sent("reverted", "the contract refuses: no stake")]}
    page.route("**/money/act", lambda route: route.fulfill(json=failed))
    page.locator("#stake-amount").fill("1")
    add.click()
    dialog.locator("button.primary").click()
    expect(dialog.locator("h2")).to_have_text("Failed: Add 1.000000 OPEN")
    expect(dialog.locator(".note.bad")).to_contain_text("the contract refuses: no stake")
    expect(dialog).not_to_contain_text("The stake counts from now on.")


def test_a_second_click_sends_nothing_and_a_lost_answer_is_called_one(page: Page, seen: Any) -> None:
    seen.is_forgiven = True  # its requests are cut
    asked: list[Route] = []
    page.route("**/operator/money/act", lambda route: asked.append(route))
    page.locator("#stake-amount").fill("1")
    page.locator('[data-key="stake add"]').click()
    go = page.locator("dialog button.primary")
    with page.expect_request("**/operator/money/act"):
        go.dblclick()
    expect(go).to_have_text("Sending…")
    expect(go).to_be_disabled()
    assert len(asked) == 1
    asked[0].abort()
    expect(page.locator("dialog .note")).to_contain_text("this may have been sent, or not")
    expect(page.locator("dialog .note")).to_contain_text("Money, Transactions shows it")
    expect(page.locator("dialog button")).to_have_text("Close")


def test_a_password_is_tried_once_and_a_refusal_asks_again(page: Page, seen: Any) -> None:
    seen.is_forgiven = True  # refusals are answers with status 400
    tried: list[str | None] = []
    held: list[Route] = []

    def answer(route: Route) -> None:
        tried.append(route.request.post_data_json["password"])
        if tried[-1] is None:
            route.fulfill(
                status=400, json={"error": {"message": "wallet is locked: this command needs its password"}}
            )
        else:
            held.append(route)

    page.route("**/operator/money/plan", answer)
    page.locator('[data-key="stake add"]').click()
    page.locator("#dialog-password").fill("wrong")
    with page.expect_request("**/operator/money/plan"):
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
    unlock = page.locator("dialog button.primary")
    expect(unlock).to_have_text("Opening…")
    expect(unlock).to_be_disabled()
    held[0].fulfill(status=400, json={"error": {"message": "the password is wrong"}})
    expect(page.locator("dialog .note")).to_contain_text("the password is wrong")
    expect(unlock).to_have_text("Unlock")
    assert tried == [None, "wrong"], "a second request would have been here before the answer to the first"
