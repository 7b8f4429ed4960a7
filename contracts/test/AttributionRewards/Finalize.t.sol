// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimRecord, Item, NOBODY, Opening, Payout, PPM, Share} from "../../src/interfaces/Types.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

contract FinalizeTest is Receipts {
    function _send(Book memory book, Opening[] memory openings) private {
        rewards.finalize(book.record, book.payouts, openings);
    }

    function test_pots_without_money_need_no_draw() public {
        ClaimRecord memory record = _claim(_ids(ONE), _items(_lane(_open(1), ONE, 0, 0, 1)));
        Payout[] memory payouts = _payouts(record, alice);
        eq("listed", payouts.length, 2);
        _proposed(record, payouts);
        rewards.finalize(record, payouts, new Opening[](0));
        eq("node", rewards.balanceOf(node), 1);
    }

    function test_everybody_is_credited_in_one_step_by_whoever_comes() public {
        Book memory book = _booked(ONE);
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        vm.prank(stranger);
        _send(book, openings);
        eq("node", rewards.balanceOf(node), 65 * OPEN);
        eq("adapter's owner", rewards.balanceOf(maker), 10 * OPEN);
        eq("Datanet's owner", rewards.balanceOf(curator), 1.2e18);
        eq("contributor", rewards.balanceOf(alice), 18.8e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN);
        eq("held", token.balanceOf(address(rewards)), DEPOSIT);
        eq("credited", rewards.totals().credited, DEPOSIT);
        yes("state", rewards.proposalOf(node, 0).state == I.State.Finalized);
    }

    function test_it_says_who_was_credited_and_why() public {
        Book memory book = _booked(ONE);
        book.payouts = _payouts(book.record, alice);
        book.payouts[1].account = address(0);
        book.entries[0].shares[1].account = address(0);
        book.entries[0].receipt.sharesHash = keccak256(abi.encode(book.entries[0].shares));
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        _emits(address(rewards));
        emit I.Credited(alice, node, 0, 10.8e18, 3);
        _emits(address(rewards));
        emit I.Credited(secondTreasury, node, 0, 8 * OPEN, 4);
        _emits(address(rewards));
        emit I.Credited(node, node, 0, 65 * OPEN, 0);
        _emits(address(rewards));
        emit I.Credited(maker, node, 0, 10 * OPEN, 1);
        _emits(address(rewards));
        emit I.Credited(curator, node, 0, 1.2e18, 1);
        _emits(address(rewards));
        emit I.Credited(treasury, node, 0, 5 * OPEN, 5);
        _emits(address(rewards));
        emit I.Finalized(node, 0, false);
        _send(book, openings);
    }

    /// @dev F: nobody is paid before the list is final; the node's own share is the bond behind it.
    function test_not_a_second_before_the_review_period_is_over() public {
        Book memory book = _booked(BASE);
        _proposeBook(book);
        uint64 readyAt = uint64(block.timestamp) + windows().window;
        vm.warp(readyAt - 1);
        _refuses(I.NotReady.selector, abi.encode(readyAt));
        _send(book, new Opening[](0));
        eq("node", rewards.balanceOf(node), 0);
        vm.warp(readyAt);
        _send(book, new Opening[](0));
    }

    function test_without_a_proposal_there_is_nothing_to_finalize() public {
        Book memory book = _booked(ONE);
        _refuses(I.NotProposed.selector, abi.encode(node, 0, I.State.None));
        _send(book, new Opening[](0));
    }

    /// @dev F: what is credited is the list that was drawn from, not what the caller brings.
    function test_another_list_than_proposed_is_refused() public {
        Book memory book = _booked(ONE);
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        bytes32 proposed = keccak256(abi.encode(book.payouts));
        book.payouts = _payouts(book.record, stranger);
        _refuses(I.PayoutsMismatch.selector, abi.encode(proposed, keccak256(abi.encode(book.payouts))));
        _send(book, openings);
    }

    function test_another_record_than_claimed_is_refused() public {
        Book memory book = _booked(ONE);
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        (book.record.nodeShare, book.record.protocol) = (book.record.nodeShare + 1, book.record.protocol - 1);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        _send(book, openings);
    }

    function test_a_claim_is_final_once() public {
        Book memory book = _booked(ONE);
        _finalize(book);
        (Opening[] memory openings,) = _openings(book, "seed");
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        _send(book, openings);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalizeLate(book.record);
    }

    /// @dev F: a Datanet's owner who runs a silent node would be paid for hiding its contributors, if it were his
    /// treasury.
    function test_a_silent_node_does_not_get_its_own_datanets_unlisted_pot() public {
        Book memory book = _booked(ONE);
        book.payouts = new Payout[](1);
        book.payouts[0] = _payout(1, alice, PPM * book.record.pots[1].gross);
        _finalize(book);
        eq("first treasury", rewards.balanceOf(firstTreasury), 0);
        eq("owner has his share and no more", rewards.balanceOf(curator), 1.2e18);
        uint256 fee = uint256(65 * OPEN) * 10.8e18 / (10 * 18.8e18);
        eq("and loses a tenth of that part of its share", rewards.balanceOf(node), 65 * OPEN - fee);
        eq("protocol has the pot", rewards.balanceOf(treasury), 5 * OPEN + 10.8e18 + fee);
        eq("the listed pot is paid", rewards.balanceOf(alice), 8 * OPEN);
    }

    /// @dev F: a list of nothing needs no draw, so its gas was saved, and the node was paid the same.
    function test_a_list_of_nothing_gives_all_pots_and_a_tenth_of_the_share_to_the_protocol() public {
        Book memory book = _booked(ONE);
        book.payouts = new Payout[](0);
        _proposeBook(book);
        vm.warp(block.timestamp + windows().window);
        _send(book, new Opening[](0));
        eq("node", rewards.balanceOf(node), 58.5e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 18.8e18 + 6.5e18);
    }

    /// @dev F: what payers did not countersign is nobody's. If it were a treasury's, its owner's node would be paid for
    /// it.
    function test_the_part_of_nobody_is_the_protocols() public {
        Item[] memory items = _items(_lane(_open(1), TWO, 0, 0, DEPOSIT));
        Book memory book = _book(_claim(_ids(TWO), items), _ids(TWO), items, 4);
        book.entries[2].isCountersigned = false;
        _list(book);
        eq("of the list", book.payouts[1].account, NOBODY);
        _finalize(book);
        eq("alice", rewards.balanceOf(alice), 13.5e18);
        eq("treasury", rewards.balanceOf(firstTreasury), 0);
        eq("node", rewards.balanceOf(node), 75 * OPEN - 1.875e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 4.5e18 + 1.875e18);
        eq("nobody", rewards.balanceOf(NOBODY), 0);
    }

    /// @dev Stake is the entry, not an investment: whoever bonds for one block takes nothing.
    function test_a_bond_for_one_block_earns_nothing() public {
        Book memory book = _booked(BARE);
        _proposeBook(book);
        vm.warp(block.timestamp + windows().window);
        vm.startPrank(payer);
        staking.bond(uint128(token.balanceOf(payer)));
        _send(book, new Opening[](0));
        staking.unbond(staking.bondedOf(payer));
        vm.stopPrank();
        eq("for the bond", rewards.balanceOf(payer), 0);
        eq("held by staking", token.balanceOf(address(staking)), staking.totals().bondedIn);
    }

    function test_balances_add_up_over_claims() public {
        for (uint256 i = 1; i < 4; ++i) {
            _finalize(_booked(ONE));
            eq("node", rewards.balanceOf(node), i * 65 * OPEN);
        }
    }
}

/// @notice Receipts whose shares are as odd as they may be.
contract FinalizeSumsTest is Receipts {
    uint256 private _seed;

    /// @dev One to three accounts in each Datanet, the treasury among them, with shares of any size.
    function _sharesOf(uint256 r, bytes32[] memory ids) internal view override returns (Share[] memory shares) {
        uint256 each = _seed % 3 + 1;
        shares = new Share[](ids.length * each);
        for (uint256 d = 0; d < ids.length; ++d) {
            uint256 rest = PPM;
            for (uint256 a = 0; a < each; ++a) {
                uint256 ppm = a + 1 == each ? rest : uint256(keccak256(abi.encode(_seed, r, d, a))) % rest;
                address account = a == 0 && _seed % 2 == 0 ? address(0) : address(uint160(0xD000 + 10 * r + a));
                shares[d * each + a] = Share(ids[d], account, uint32(ppm));
                rest -= ppm;
            }
        }
    }

    function _isCountersigned(uint256 r) internal view override returns (bool) {
        return uint256(keccak256(abi.encode(_seed, r))) % 4 > 0;
    }

    /// @dev Whatever the receipts say and whatever is drawn, an honest list is shown, each account gets its part of the
    /// pot rounded down, and all parts sum to the claim's gross. Each run is a whole claim of two million gas.
    /// forge-config: default.fuzz.runs = 64
    function test_fuzz_an_honest_list_is_final_and_sums_exactly(uint128 gross, uint256 seed, bytes32 drawn) public {
        _seed = seed;
        gross = uint128(within(gross, 1, DEPOSIT));
        Item[] memory items = _items(_lane(_open(1), ONE, 0, 0, gross), _lane(_open(2), ONE, 0, 0, DEPOSIT));
        Book memory book = _book(_claim(_ids(ONE), items), _ids(ONE), items, 3);
        drawn = drawn == 0 ? bytes32(uint256(1)) : drawn;
        _drawn(book, drawn);
        (Opening[] memory openings, uint256 missing) = _openings(book, drawn);
        eq("all is shown", missing, 0);
        rewards.finalize(book.record, book.payouts, openings);
        _areExact(book);
    }

    function _areExact(Book memory book) private view {
        uint256[2] memory rest = [uint256(book.record.pots[0].amount), book.record.pots[1].amount];
        uint256 unpaid = 0;
        for (uint256 i = 0; i < book.payouts.length; ++i) {
            Payout memory payout = book.payouts[i];
            uint256 pot = book.record.pots[payout.pot].amount;
            uint256 amount = pot * payout.weight / (PPM * book.record.pots[payout.pot].gross);
            if (payout.account == address(0)) continue;
            rest[payout.pot] -= amount;
            if (payout.account == NOBODY) unpaid += amount;
            else yes("at least this", rewards.balanceOf(payout.account) >= amount);
        }
        uint256 fee = _feeOf(book.record, unpaid);
        eq("node", rewards.balanceOf(node), book.record.nodeShare - fee);
        eq("protocol", rewards.balanceOf(treasury), book.record.protocol + unpaid + fee);
        eq("first treasury", rewards.balanceOf(firstTreasury), rest[0]);
        eq("second treasury", rewards.balanceOf(secondTreasury), rest[1]);
        eq("credited", rewards.totals().credited, book.record.gross);
        eq("held", token.balanceOf(address(rewards)), rewards.totals().credited);
    }

    function _feeOf(ClaimRecord memory record, uint256 unpaid) private pure returns (uint256) {
        uint256 pots = uint256(record.pots[0].amount) + record.pots[1].amount;
        return unpaid == 0 ? 0 : uint256(record.nodeShare) * unpaid / (10 * pots);
    }
}

/// @notice A node of which lapsed draws have left little, because its pots are as small as they may be.
contract LittleLeftTest is Receipts {
    bytes32 private _adapter;

    function values() internal pure override returns (Values memory v) {
        v = super.values();
        v.dataPpm = 100_000;
    }

    function setUp() public override {
        super.setUp();
        vm.prank(curator);
        bytes32 half = datanets.create("half", firstTreasury, 500_000, "CC-BY-4.0", 2);
        vm.prank(maker);
        _adapter = models.register("half", "base", "a", "index", _ids(half), _weights(1_000_000), 0);
    }

    function test_the_fee_for_what_is_not_listed_takes_no_more_than_is_left() public {
        Book memory book = _booked(_adapter);
        book.payouts = new Payout[](0);
        _drawn(book, "seed");
        for (uint256 i = 0; i < 33; ++i) {
            vm.roll(vm.getBlockNumber() + 257);
            _draw(book.record, "seed");
        }
        rewards.finalize(book.record, book.payouts, new Opening[](0));
        eq("node", rewards.balanceOf(node), 0);
        eq("protocol", rewards.balanceOf(treasury), 95 * OPEN);
    }
}
