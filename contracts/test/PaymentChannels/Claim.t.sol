// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ClaimRecord, EpochClaim, Item} from "../../src/interfaces/Types.sol";
import {ClaimSplit} from "../../src/lib/ClaimSplit.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract ClaimTest is World {
    /// @dev A claim that is sound: a test spoils one thing of it.
    function _sound() private returns (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) {
        adapters = _ids(BASE);
        items = _items(_item(_open(channels.nextSeq(node)), 0, DEPOSIT));
        epochClaim = _epochClaim(adapters, items);
    }

    function _send(EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) private {
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
    }

    function test_a_claim_fixes_who_is_owed_what_and_moves_no_token() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        vm.recordLogs();
        _send(epochClaim, adapters, items);
        ClaimRecord memory record = _lastRecord();
        eq("node", record.node, node);
        eq("seq", record.seq, 0);
        eq("epoch", record.epoch, epochClaim.epoch);
        eq("claimed at", record.claimedAt, block.timestamp);
        eq("in block", record.claimedBlock, block.number);
        eq("items", record.itemsRoot, _leaf(items[0], BASE));
        eq("gross", record.gross, DEPOSIT);
        eq("stored", channels.claimOf(node, 0), keccak256(abi.encode(record)));
        eq("next seq", channels.nextSeq(node), 1);
        eq("held", token.balanceOf(address(channels)), DEPOSIT);
        eq("live", channels.totals().live, DEPOSIT);
        eq("escrowed", channels.totals().escrowed, 0);
        eq("left", _left(items[0].config), 0);
        eq("lane", channels.laneClaimed(channels.channelId(items[0].config), BASE), DEPOSIT);
    }

    function test_anybody_can_send_what_the_signer_has_signed() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, epochClaim);
        vm.prank(stranger);
        channels.claim(epochClaim, adapters, items, signature);
        eq("next seq", channels.nextSeq(node), 1);
    }

    function test_the_nodes_own_key_can_always_send_and_sign() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        vm.prank(node);
        channels.claim(epochClaim, adapters, items, "");
        (epochClaim, adapters, items) = _sound();
        bytes memory signature = _epochClaimSignature(NODE_KEY, epochClaim);
        channels.claim(epochClaim, adapters, items, signature);
        eq("next seq", channels.nextSeq(node), 2);
    }

    function test_a_stranger_claims_nothing_for_a_node() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(STRANGER_KEY, epochClaim);
        _refuses(I.NotSigner.selector, abi.encode(node, stranger));
        vm.prank(stranger);
        channels.claim(epochClaim, adapters, items, signature);
        _refuses(I.NotSigner.selector, abi.encode(node, address(0)));
        vm.prank(stranger);
        channels.claim(epochClaim, adapters, items, "");
    }

    function test_a_revoked_signer_claims_nothing() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, epochClaim);
        vm.prank(node);
        staking.revokeSigner(signer);
        _refuses(I.NotSigner.selector, abi.encode(node, signer));
        channels.claim(epochClaim, adapters, items, signature);
        _refuses(I.NotSigner.selector, abi.encode(node, address(0)));
        _send(epochClaim, adapters, items);
    }

    /// @dev F: a relay that could change an item would choose what is claimed.
    function test_other_items_than_signed_are_refused() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, epochClaim);
        items[0].to -= 1;
        bytes32 given = _itemsHash(adapters, items);
        _refuses(I.ItemsMismatch.selector, abi.encode(epochClaim.itemsHash, given));
        vm.prank(stranger);
        channels.claim(epochClaim, adapters, items, signature);
        epochClaim.itemsHash = given;
        vm.expectPartialRevert(I.NotSigner.selector);
        vm.prank(stranger);
        channels.claim(epochClaim, adapters, items, signature);
    }

    function test_other_adapters_than_signed_are_refused() public {
        (EpochClaim memory epochClaim,, Item[] memory items) = _sound();
        bytes32 given = _itemsHash(_ids(ONE), items);
        _refuses(I.ItemsMismatch.selector, abi.encode(epochClaim.itemsHash, given));
        _send(epochClaim, _ids(ONE), items);
    }

    function test_fewer_items_than_signed_are_refused() public {
        bytes32[] memory adapters = _ids(BASE);
        Item memory one = _item(_open(1), 0, DEPOSIT);
        EpochClaim memory epochClaim = _epochClaim(adapters, _items(one, _item(_open(2), 0, DEPOSIT)));
        _refuses(I.ItemsMismatch.selector, abi.encode(epochClaim.itemsHash, _itemsHash(adapters, _items(one))));
        _send(epochClaim, adapters, _items(one));
    }

    /// @dev F: royalties cannot be avoided by a registry entry that the node makes up.
    function test_an_adapter_that_is_not_registered_is_refused() public {
        bytes32[] memory adapters = _ids("nobody's");
        Item[] memory items = _items(_lane(_open(1), adapters[0], 0, 0, DEPOSIT));
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        _refuses(IModelRegistry.UnknownAdapter.selector, abi.encode(bytes32("nobody's")));
        _send(epochClaim, adapters, items);
    }

    function test_adapters_ascend() public {
        (EpochClaim memory epochClaim,, Item[] memory items) = _sound();
        _refuses(I.AdaptersNotAscending.selector, abi.encode(ONE));
        _send(epochClaim, _ids(TWO, ONE), items);
        _refuses(I.AdaptersNotAscending.selector, abi.encode(ONE));
        _send(epochClaim, _ids(ONE, ONE), items);
    }

    function test_there_are_at_most_32_adapters() public {
        (EpochClaim memory epochClaim,, Item[] memory items) = _sound();
        _refuses(I.TooMany.selector, abi.encode("adapters", 33, 32));
        _send(epochClaim, new bytes32[](33), items);
    }

    function test_32_adapters_are_not_too_many() public {
        bytes32[] memory adapters = new bytes32[](32);
        bytes32[] memory manifests = _manifests(maker, 100, 31);
        for (uint256 a = 1; a < 32; ++a) {
            vm.prank(maker);
            adapters[a] = models.register(manifests[a - 1], "base", "artifact", "", _none(), new uint32[](0), 0);
        }
        ClaimRecord memory record = _claim(adapters, _items(_lane(_open(1), adapters[31], 31, 0, DEPOSIT)));
        eq("gross", record.gross, DEPOSIT);
    }

    function test_there_are_at_most_256_items() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        _refuses(I.TooMany.selector, abi.encode("items", 257, 256));
        _send(epochClaim, adapters, new Item[](257));
        Item[] memory most = new Item[](256);
        for (uint256 i = 0; i < 255; ++i) most[i] = _item(_config(1_000 + i), 0, 1);
        most[255] = items[0];
        eq("gross", _claim(adapters, most).gross, DEPOSIT);
    }

    /// @dev F: a record of nothing would still need a list, and anybody's work to close it.
    function test_a_claim_of_nothing_is_refused() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        items[0].from = 1;
        epochClaim.itemsHash = _itemsHash(adapters, items);
        _refuses(I.NothingClaimed.selector);
        _send(epochClaim, adapters, items);
        epochClaim.itemsHash = _itemsHash(adapters, new Item[](0));
        _refuses(I.NothingClaimed.selector);
        _send(epochClaim, adapters, new Item[](0));
        eq("next seq", channels.nextSeq(node), 0);
    }

    /// @dev F: out of order, an adapter's money would not lie together on the claim's line.
    function test_items_ascend_by_adapter() public {
        bytes32[] memory adapters = _ids(BASE, TWO);
        Item[] memory items = _items(_lane(_open(1), TWO, 1, 0, 5), _item(_open(2), 0, 5));
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        _refuses(I.ItemsNotAscending.selector, abi.encode(1));
        _send(epochClaim, adapters, items);
        (items[0], items[1]) = (items[1], items[0]);
        eq("gross", _claim(adapters, items).gross, 10);
    }

    function test_an_item_of_an_adapter_that_is_not_named_is_refused() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        items[0].adapter = 1;
        _refuses(I.AdapterNotNamed.selector, abi.encode(0, 1));
        _send(epochClaim, adapters, items);
        _refuses(I.AdapterNotNamed.selector, abi.encode(0, 1));
        _send(epochClaim, _none(), items);
    }

    function test_the_epoch_is_now_or_the_one_before() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        uint64 current = epochClaim.epoch;
        epochClaim.epoch = current + 1;
        _refuses(I.BadEpoch.selector, abi.encode(current + 1, current));
        _send(epochClaim, adapters, items);
        epochClaim.epoch = current - 2;
        _refuses(I.BadEpoch.selector, abi.encode(current - 2, current));
        _send(epochClaim, adapters, items);
        epochClaim.epoch = current - 1;
        _send(epochClaim, adapters, items);
    }

    function test_claims_are_numbered_without_gaps() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        epochClaim.seq = 1;
        _refuses(I.BadSeq.selector, abi.encode(1, 0));
        _send(epochClaim, adapters, items);
        epochClaim.seq = 0;
        _send(epochClaim, adapters, items);
        _refuses(I.BadSeq.selector, abi.encode(0, 1));
        _send(epochClaim, adapters, items);
    }

    function test_a_signed_claim_counts_once() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, epochClaim);
        channels.claim(epochClaim, adapters, items, signature);
        _refuses(I.BadSeq.selector, abi.encode(0, 1));
        channels.claim(epochClaim, adapters, items, signature);
    }

    /// @dev F: a node with nothing at stake has nothing to lose by a false list; what is unbonding does not count.
    function test_a_node_that_unbonds_claims_nothing() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        vm.prank(node);
        staking.unbond(STAKE - MIN_STAKE + 1);
        _refuses(I.StakeTooSmall.selector, abi.encode(MIN_STAKE - 1, MIN_STAKE));
        _send(epochClaim, adapters, items);
        vm.prank(node);
        staking.bond(1);
        _send(epochClaim, adapters, items);
    }

    function test_a_claim_is_computed_by_its_own_epochs_numbers() public {
        Values memory next = values();
        (next.protocolPpm, next.minStake) = (40_000, MIN_STAKE + 1);
        vm.prank(governor);
        params.set(next);
        vm.warp(block.timestamp + 2 days);
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        epochClaim.epoch -= 1;
        vm.recordLogs();
        _send(epochClaim, adapters, items);
        eq("by the old ones", _lastRecord().protocol, DEPOSIT / 20);
        (epochClaim, adapters, items) = _sound();
        vm.recordLogs();
        _send(epochClaim, adapters, items);
        eq("by the new ones", _lastRecord().protocol, DEPOSIT / 25);
    }

    function test_more_than_64_pots_are_refused() public {
        bytes32[] memory ids = new bytes32[](8);
        uint32[] memory weights = new uint32[](8);
        for (uint256 d = 0; d < 8; ++d) {
            ids[d] = datanets.create(vm.toString(d), treasury, 0, "", 2);
            weights[d] = 125_000;
        }
        for (uint256 a = 0; a < 8; ++a) {
            for (uint256 b = a + 1; b < 8; ++b) if (ids[b] < ids[a]) (ids[a], ids[b]) = (ids[b], ids[a]);
        }
        bytes32[] memory adapters = new bytes32[](9);
        Item[] memory items = new Item[](9);
        bytes32[] memory manifests = _manifests(maker, 100, 9);
        for (uint16 a = 0; a < 9; ++a) {
            vm.prank(maker);
            adapters[a] = models.register(manifests[a], "base", "artifact", "index", ids, weights, 0);
            items[a] = _lane(_open(a), adapters[a], a, 0, 1);
        }
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        _refuses(ClaimSplit.TooManyPots.selector, abi.encode(72, 64));
        _send(epochClaim, adapters, items);
        items[8] = _lane(items[8].config, adapters[7], 7, 0, 2);
        eq("pots", _claim(adapters, items).pots.length, 64);
    }

    function test_two_claims_in_one_epoch_are_two_records() public {
        ClaimRecord memory one = _claimed(BASE);
        ClaimRecord memory two = _claimed(BASE);
        eq("one", channels.claimOf(node, 0), keccak256(abi.encode(one)));
        eq("two", channels.claimOf(node, 1), keccak256(abi.encode(two)));
        eq("live", channels.totals().live, 2 * DEPOSIT);
    }

    /// @dev Its owner could void what nodes have earned with it, otherwise.
    function test_a_retired_adapter_can_still_be_claimed_for() public {
        vm.prank(maker);
        models.retire(ONE);
        vm.warp(block.timestamp + windows().unbonding - 1);
        eq("gross", _claimed(ONE).gross, DEPOSIT);
    }

    /// @dev F: the bond could be taken back, and royalties would go on for ever with nothing at stake.
    function test_an_adapter_whose_bond_is_free_earns_nothing_more() public {
        vm.prank(maker);
        models.retire(ONE);
        uint64 freeAt = uint64(block.timestamp) + windows().unbonding;
        vm.warp(freeAt);
        vm.prank(maker);
        models.reclaimBond(ONE);
        Item[] memory items = _items(_lane(_open(1), ONE, 0, 0, DEPOSIT));
        EpochClaim memory epochClaim = _epochClaim(_ids(ONE), items);
        _refuses(I.AdapterNotClaimable.selector, abi.encode(ONE, freeAt));
        _send(epochClaim, _ids(ONE), items);
        eq("others do", _claimed(TWO).gross, DEPOSIT);
    }

    /// @dev A voucher for one contract or chain is worth nothing in another: its domain names both.
    function test_a_claim_signed_for_another_chain_is_refused() public {
        (EpochClaim memory epochClaim, bytes32[] memory adapters, Item[] memory items) = _sound();
        bytes memory signature = _epochClaimSignature(SIGNER_KEY, epochClaim);
        vm.chainId(5);
        vm.expectPartialRevert(I.NotSigner.selector);
        channels.claim(epochClaim, adapters, items, signature);
    }
}
