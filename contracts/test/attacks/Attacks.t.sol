// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IParams, Values} from "../../src/interfaces/IParams.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, EpochClaim, Item, Opening} from "../../src/interfaces/Types.sol";
import {Openings} from "../../src/lib/Openings.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice Attacks that worked on version 1 of the contracts, by their numbers, from the first step to the last. Each
/// test passes because the attack fails. The README lists all attacks and their tests.
contract AttacksTest is Receipts {
    function _claimsNothing(bytes32[] memory adapters, Item[] memory items) private {
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        _refuses(IPaymentChannels.NothingClaimed.selector);
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
    }

    // ---- 02: a node claims an adapter's money as the base model's ----

    function test_02_an_adapters_money_is_not_claimed_as_base() public {
        ChannelConfig memory config = _open(1);
        Item memory lie = _item(config, 0, DEPOSIT);
        lie.signature = _voucher(config, ONE, DEPOSIT); // the only voucher that the payer has signed
        _claimsNothing(_ids(BASE), _items(lie));
        ClaimRecord memory record = _claim(_ids(ONE), _items(_lane(config, ONE, 0, 0, DEPOSIT)));
        eq("the node's part", record.nodeShare, 65 * OPEN);
        eq("royalty", record.credits[0].amount, 10 * OPEN);
        eq("the contributors' part", record.pots[0].amount + record.pots[1].amount, 18.8e18);
    }

    // ---- 03: a node lists itself for all pots ----

    /// @dev However often it draws, until its own share is gone.
    function test_03_a_node_that_lists_itself_gets_nothing_and_pays() public {
        Book memory book = _booked(ONE);
        book.payouts = _payouts(book.record, node);
        _proposeBook(book);
        vm.warp(block.timestamp + windows().window);
        for (uint256 i = 0; i < 6; ++i) {
            bytes32 seed = bytes32(i + 1);
            _draw(book.record, seed);
            (Opening[] memory openings, uint256 missing) = _openings(book, seed);
            eq("nothing can be shown", missing, 4);
            vm.expectPartialRevert(Openings.NotShown.selector);
            rewards.finalize(book.record, book.payouts, openings);
            vm.roll(vm.getBlockNumber() + 257);
        }
        _refuses(IAttributionRewards.NoDrawsLeft.selector, abi.encode(5));
        vm.prank(signer);
        rewards.draw(node, 0);
        vm.warp(block.timestamp + windows().propose + 1);
        rewards.finalizeLate(book.record);
        eq("six fees of half of all pots", rewards.balanceOf(node), 65 * OPEN - 6 * 9.4e18);
        eq("contributors", rewards.balanceOf(alice), 0);
    }

    /// @dev A tenth for itself. With four draws it is caught one time in three, and gains less than a fee costs.
    function test_03_a_tenth_does_not_pay_either() public {
        uint256 gained = 0;
        uint256 paid = 0;
        for (uint256 i = 0; i < 40; ++i) {
            Book memory book = _booked(TWO);
            uint256 tenth = book.payouts[0].weight / 10;
            book.payouts[0].weight -= tenth;
            _add(book, 0, address(0xF0000000), tenth);
            bytes32 seed = keccak256(abi.encode(i));
            _drawn(book, seed);
            (Opening[] memory openings, uint256 missing) = _openings(book, seed);
            uint256 pot = book.record.pots[0].amount;
            if (missing == 0) {
                rewards.finalize(book.record, book.payouts, openings);
                gained += pot / 10;
            } else {
                paid += pot / 2;
            }
        }
        eq("gained", rewards.balanceOf(address(0xF0000000)), gained);
        yes("at most half of what it pays", gained * 2 <= paid);
    }

    // ---- 04: money without a single receipt behind it ----

    function test_04_a_claim_without_receipts_cannot_name_anybody() public {
        Item[] memory items = _items(_lane(_open(1), TWO, 0, 0, DEPOSIT));
        Book memory book = _book(_claim(_ids(TWO), items), _ids(TWO), items, 1);
        vm.prank(signer);
        rewards.propose(book.record, 0, book.payouts); // a root of nothing
        vm.warp(block.timestamp + windows().window);
        _draw(book.record, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        vm.expectRevert();
        rewards.finalize(book.record, book.payouts, openings);
        _refuses(IAttributionRewards.WrongOpenings.selector, abi.encode(0, 1));
        rewards.finalize(book.record, book.payouts, new Opening[](0));
    }

    // ---- 05: a contract as signer keeps the items out of calldata and logs ----

    /// @dev A contract cannot consent, and what was claimed of a lane can be read from the chain.
    function test_05_a_contract_is_no_signer_and_a_payer_sees_what_was_claimed() public {
        _refuses(INodeStaking.NoConsent.selector, abi.encode(address(this), address(0)));
        vm.prank(node);
        staking.setSigner(address(this), uint64(block.timestamp), new bytes(65));
        ChannelConfig memory config = _open(1);
        _claim(_ids(ONE), _items(_lane(config, ONE, 0, 0, 7)));
        eq("lane", channels.laneClaimed(channels.channelId(config), ONE), 7);
    }

    // ---- 06: a list for another claim of the same number, after a reorganisation ----

    function test_06_a_list_is_bound_to_the_whole_record() public {
        (ChannelConfig memory a, ChannelConfig memory b) = (_open(1), _open(2));
        uint256 before = vm.snapshotState();
        ClaimRecord memory one = _claim(_ids(TWO), _items(_lane(a, TWO, 0, 0, DEPOSIT)));
        bytes memory list = abi.encodeCall(rewards.propose, (one, "receipts", _payouts(one, alice)));
        vm.revertToState(before);
        _claim(_ids(TWO), _items(_lane(b, TWO, 0, 0, DEPOSIT)));
        vm.prank(signer);
        (bool success, bytes memory reason) = address(rewards).call(list);
        yes("the same transaction, mined again, is refused", !success);
        bytes memory expected = abi.encodeWithSelector(IAttributionRewards.UnknownClaim.selector, node, 0);
        eq("reason", keccak256(reason), keccak256(expected));
    }

    // ---- 07: a node waits for an epoch in which contributors get nothing ----

    function test_07_there_is_no_epoch_worth_waiting_for() public {
        Values memory v = values();
        v.dataPpm = 0;
        _refuses(IParams.OutOfBounds.selector, abi.encode("dataPpm", 0, 100_000, 300_000));
        vm.prank(governor);
        params.set(v);
        v.dataPpm = 150_000;
        vm.prank(governor);
        params.set(v);
        ChannelConfig memory config = _open(1);
        uint128 now_ = _claim(_ids(TWO), _items(_lane(config, TWO, 0, 0, OPEN))).pots[0].amount;
        vm.warp(block.timestamp + 2 days);
        uint128 later = _claim(_ids(TWO), _items(_lane(config, TWO, 0, OPEN, 2 * OPEN))).pots[0].amount;
        yes("three quarters are left", uint256(later) * 4 >= uint256(now_) * 3);
    }

    // ---- 12: signed things do not pass for each other ----

    function test_12_a_voucher_is_no_refund_and_a_consent_no_claim() public {
        ChannelConfig memory config = _open(1);
        bytes memory voucher = _voucher(config, BASE, 10 * OPEN);
        vm.expectPartialRevert(IPaymentChannels.NotSigner.selector);
        vm.prank(stranger);
        channels.refund(config, 10 * OPEN, 0, voucher);
        bytes memory consent = _consent(SIGNER_KEY, node, uint64(block.timestamp));
        vm.expectPartialRevert(IPaymentChannels.NotSigner.selector);
        vm.prank(stranger);
        channels.refund(config, 10 * OPEN, 0, consent);
    }

    // ---- 14: an epoch so large that it wraps ----

    function test_14_the_last_epoch_of_all_wraps_nothing() public {
        Item[] memory items = _items(_item(_open(1), 0, DEPOSIT));
        EpochClaim memory epochClaim = _epochClaim(_ids(BASE), items);
        epochClaim.epoch = type(uint64).max;
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        vm.prank(signer);
        channels.claim(epochClaim, _ids(BASE), items, "");
    }

    // ---- 15: a payer takes a part of the deposit just before a late claim ----

    function test_15_a_late_claim_still_gets_what_is_left_up_to_a_receipt() public {
        ChannelConfig memory config = _open(1);
        vm.prank(payer);
        channels.startWithdraw(config, 30 * OPEN);
        vm.warp(block.timestamp + DELAY);
        vm.prank(payer);
        channels.finishWithdraw(config);
        _claimsNothing(_ids(BASE), _items(_item(config, 0, 80 * OPEN)));
        Item memory item = _item(config, 0, 70 * OPEN); // up to an earlier receipt, with the newest voucher
        (item.maxClaimable, item.signature) = (80 * OPEN, _voucher(config, BASE, 80 * OPEN));
        eq("gross", _claim(_ids(BASE), _items(item)).gross, 70 * OPEN);
    }

    // ---- 18: live records of nothing, for anybody to close ----

    function test_18_claims_of_nothing_are_refused() public {
        ChannelConfig memory config = _open(1);
        for (uint256 i = 0; i < 3; ++i) {
            _claimsNothing(_ids(BASE), _items(_item(config, 5, 9)));
        }
        eq("seqs used", channels.nextSeq(node), 0);
    }
}
