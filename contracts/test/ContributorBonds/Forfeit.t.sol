// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IContributorBonds as I, SignedBatch} from "../../src/interfaces/IContributorBonds.sol";
import {IDatanetRegistry as Registry} from "../../src/interfaces/IDatanetRegistry.sol";
import {Bonded} from "../support/Bonded.sol";
import {vm} from "../support/Vm.sol";

contract ForfeitTest is Bonded {
    function setUp() public override {
        super.setUp();
        _postBy(giver, POSTED);
    }

    function test_what_the_owner_forfeits_goes_to_the_protocol() public {
        uint256 owners = token.balanceOf(curator);
        uint256 protocols = token.balanceOf(treasury);
        _emits(address(datanets));
        emit I.BondForfeited(first, giver, "rows", OPEN, "junk");
        eq("amount", _forfeit("rows", OPEN), OPEN);
        eq("protocol", token.balanceOf(treasury) - protocols, OPEN);
        eq("owner", token.balanceOf(curator), owners);
        eq("held", _held().held, POSTED - OPEN);
        _checkSums();
    }

    /// @dev F: a contributor who takes back a part first makes the owner's transaction fail.
    function test_never_more_than_there_is() public {
        eq("all", _forfeit("rows", POSTED + 1), POSTED);
        eq("held", _held().held, 0);
        _refuses(I.NoContributorBond.selector, abi.encode(first, giver));
        _forfeit("others", OPEN);
        _checkSums();
    }

    function test_of_nothing_nothing_is_forfeited() public {
        _refuses(I.ZeroAmount.selector);
        _forfeit("rows", 0);
    }

    /// @dev F: a contributor announces at once, hands in junk, and leaves with the bond.
    function test_while_it_is_leaving_it_can_be_forfeited() public {
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt);
        _forfeit("rows", OPEN);
        eq("leaving", _held().leaving, POSTED - OPEN);
        vm.prank(giver);
        eq("the rest", bonds.takeBackBond(first), POSTED - OPEN);
        _checkSums();
    }

    function test_what_stays_is_forfeited_before_what_leaves() public {
        _startTakeBack(OPEN);
        _forfeit("rows", POSTED - OPEN);
        eq("leaving", _held().leaving, OPEN);
    }

    function test_not_after_it_was_taken_back() public {
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt);
        vm.prank(giver);
        bonds.takeBackBond(first);
        _refuses(I.NoContributorBond.selector, abi.encode(first, giver));
        _forfeit("rows", OPEN);
    }

    function test_only_the_owner_forfeits() public {
        _refuses(I.NotBondDecider.selector, abi.encode(first, stranger));
        _forfeitBy(stranger, "rows", OPEN, new bytes[](0));
    }

    /// @dev F: one batch would cost each time that the account posts again.
    function test_once_for_each_batch() public {
        _forfeit("rows", OPEN);
        _refuses(I.ForfeitedBefore.selector, abi.encode(first, giver, bytes32("rows")));
        _forfeit("rows", OPEN);
        eq("another", _forfeit("others", OPEN), OPEN);
    }

    /// @dev F: an owner invents a batch.
    function test_only_for_a_batch_that_the_account_has_signed() public {
        SignedBatch memory batch = _batchOf(STRANGER_KEY, first, giver, "rows");
        _refuses(I.NotSignedBy.selector, abi.encode(giver, stranger));
        vm.prank(curator);
        bonds.forfeitBond(first, giver, batch, OPEN, "junk", new bytes[](0));
        batch.signature = "";
        _refuses(I.NotSignedBy.selector, abi.encode(giver, address(0)));
        vm.prank(curator);
        bonds.forfeitBond(first, giver, batch, OPEN, "junk", new bytes[](0));
    }

    /// @dev F: a batch for one Datanet costs the bond at another one.
    function test_not_for_a_batch_of_another_datanet() public {
        SignedBatch memory batch = _batchOf(GIVER_KEY, second, giver, "rows");
        vm.expectPartialRevert(I.NotSignedBy.selector);
        vm.prank(curator);
        bonds.forfeitBond(first, giver, batch, OPEN, "junk", new bytes[](0));
    }

    function test_not_for_another_batch_under_the_same_signature() public {
        SignedBatch memory batch = _batch("rows");
        batch.rowsRoot = "others";
        vm.expectPartialRevert(I.NotSignedBy.selector);
        vm.prank(curator);
        bonds.forfeitBond(first, giver, batch, OPEN, "junk", new bytes[](0));
    }

    /// @dev F: an owner dismisses the curators and forfeits alone; a buyer of the Datanet forfeits all bonds.
    function test_only_while_those_decide_to_whom_the_account_agreed() public {
        bytes32 agreed = _held().deciders;
        _curate(2);
        _refuses(I.OtherDeciders.selector, abi.encode(first, agreed, bonds.decidersOf(first)));
        _forfeit("rows", OPEN);
        _curate(0);
        vm.prank(curator);
        datanets.transferOwnership(first, stranger);
        vm.prank(stranger);
        datanets.acceptOwnership(first);
        _refuses(I.OtherDeciders.selector, abi.encode(first, agreed, bonds.decidersOf(first)));
        _forfeitBy(stranger, "rows", OPEN, new bytes[](0));
        _refuses(I.NotBondDecider.selector, abi.encode(first, curator));
        _forfeit("rows", OPEN);
    }

    function testFuzz_sums_hold(uint128 more, uint128 leaving, uint128 most, uint64 wait) public {
        _postBy(giver, more % (100 * OPEN));
        _startTakeBack(leaving % (_held().held + 1));
        vm.warp(block.timestamp + wait % (2 * windows().unbonding));
        uint128 before = _held().held;
        uint128 taken = _forfeit("rows", most % (200 * OPEN) + 1);
        eq("held", _held().held, before - taken);
        yes("leaving within", _held().leaving <= _held().held);
        _checkSums();
        if (_held().leaving == 0 || block.timestamp < _held().readyAt) return;
        vm.prank(giver);
        bonds.takeBackBond(first);
        _checkSums();
    }
}

contract ForfeitByCuratorsTest is Bonded {
    function setUp() public override {
        super.setUp();
        _curate(2);
        _postBy(giver, POSTED);
    }

    function test_two_of_three_curators_forfeit_and_the_owner_sends_it() public {
        bytes[] memory signed = _approvals(0, 2, "rows");
        _refuses(I.NotBondDecider.selector, abi.encode(first, stranger));
        _forfeitBy(stranger, "rows", OPEN, signed);
        eq("amount", _forfeitBy(curator, "rows", OPEN, signed), OPEN);
        _checkSums();
    }

    function test_the_owner_does_not_forfeit_alone() public {
        _refuses(I.MissingApprovals.selector, abi.encode(2, 0));
        _forfeit("rows", OPEN);
    }

    /// @dev F: one curator counts once, however often they sign, and in one order only.
    function test_a_curator_counts_once() public {
        bytes[] memory signed = _approvals(1, 1, "rows");
        _refuses(Registry.NotCurator.selector, abi.encode(first, _three[1]));
        _forfeitBy(curator, "rows", OPEN, signed);
        signed = _approvals(2, 0, "rows");
        _refuses(Registry.NotCurator.selector, abi.encode(first, _three[0]));
        _forfeitBy(curator, "rows", OPEN, signed);
    }

    function test_a_stranger_decides_nothing() public {
        bytes[] memory signed = _approvals(0, 1, "rows");
        signed[1] = _approvalOf(STRANGER_KEY, first, giver, "rows", OPEN);
        _refuses(Registry.NotCurator.selector, abi.encode(first, stranger));
        _forfeitBy(curator, "rows", OPEN, signed);
    }

    /// @dev F: approvals for one batch, account, Datanet, amount or chain are used for another.
    function test_approvals_are_for_one_forfeit() public {
        bytes[] memory signed = _approvals(0, 1, "rows");
        vm.expectPartialRevert(Registry.NotCurator.selector);
        _forfeitBy(curator, "others", OPEN, signed);
        vm.expectPartialRevert(Registry.NotCurator.selector);
        _forfeitBy(curator, "rows", OPEN + 1, signed);
        signed[0] = _approvalOf(_keys[0], second, giver, "rows", OPEN);
        vm.expectPartialRevert(Registry.NotCurator.selector);
        _forfeitBy(curator, "rows", OPEN, signed);
        signed[0] = _approvalOf(_keys[0], first, stranger, "rows", OPEN);
        vm.expectPartialRevert(Registry.NotCurator.selector);
        _forfeitBy(curator, "rows", OPEN, signed);
        signed = _approvals(0, 1, "rows");
        vm.chainId(block.chainid + 1);
        vm.expectPartialRevert(Registry.NotCurator.selector);
        _forfeitBy(curator, "rows", OPEN, signed);
    }

    /// @dev F: an owner tells everybody another reason than the curators have signed.
    function test_approvals_are_for_one_reason() public {
        bytes[] memory signed = _approvals(0, 1, "rows");
        SignedBatch memory batch = _batch("rows");
        vm.expectPartialRevert(Registry.NotCurator.selector);
        vm.prank(curator);
        bonds.forfeitBond(first, giver, batch, OPEN, "spam", signed);
    }

    /// @dev F: approvals that were used once take what the account posts later.
    function test_approvals_are_used_once() public {
        bytes[] memory signed = _approvals(0, 1, "rows");
        _forfeitBy(curator, "rows", OPEN, signed);
        _postBy(giver, POSTED);
        _refuses(I.ForfeitedBefore.selector, abi.encode(first, giver, bytes32("rows")));
        _forfeitBy(curator, "rows", OPEN, signed);
    }
}
