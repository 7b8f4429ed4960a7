// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IContributorBonds as I} from "../../src/interfaces/IContributorBonds.sol";
import {Bonded} from "../support/Bonded.sol";
import {vm} from "../support/Vm.sol";

contract TakeBackTest is Bonded {
    function setUp() public override {
        super.setUp();
        _postBy(giver, POSTED);
    }

    function _takeBack() private returns (uint128) {
        vm.prank(giver);
        return bonds.takeBackBond(first);
    }

    function test_a_part_comes_back_after_unbonding_to_the_wei() public {
        uint64 readyAt = uint64(block.timestamp) + windows().unbonding;
        _emits(address(datanets));
        emit I.BondLeaving(first, giver, OPEN, readyAt);
        _startTakeBack(OPEN);
        eq("leaving", _held().leaving, OPEN);
        eq("ready", _held().readyAt, readyAt);
        vm.warp(readyAt);
        uint256 before = token.balanceOf(giver);
        _emits(address(datanets));
        emit I.BondTakenBack(first, giver, OPEN);
        eq("amount", _takeBack(), OPEN);
        eq("paid", token.balanceOf(giver) - before, OPEN);
        eq("held", _held().held, POSTED - OPEN);
        _checkSums();
    }

    function test_not_a_second_before_unbonding_is_over() public {
        _startTakeBack(POSTED);
        uint64 readyAt = _held().readyAt;
        vm.warp(readyAt - 1);
        _refuses(I.StillLeaving.selector, abi.encode(readyAt));
        _takeBack();
    }

    function test_it_comes_back_once() public {
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt);
        _takeBack();
        _refuses(I.NothingLeaving.selector, abi.encode(first, giver));
        _takeBack();
    }

    function test_nothing_comes_back_unannounced() public {
        _refuses(I.NothingLeaving.selector, abi.encode(first, giver));
        _takeBack();
    }

    function test_not_more_than_is_held() public {
        _refuses(I.NotSoMuchHeld.selector, abi.encode(POSTED + 1, POSTED));
        _startTakeBack(POSTED + 1);
    }

    function test_without_a_bond_nothing_leaves() public {
        _refuses(I.NoContributorBond.selector, abi.encode(second, giver));
        vm.prank(giver);
        bonds.startTakeBack(second, 0);
    }

    function test_a_second_announcement_replaces_the_first_and_begins_anew() public {
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt - 1);
        _startTakeBack(OPEN);
        eq("leaving", _held().leaving, OPEN);
        eq("ready", _held().readyAt, block.timestamp + windows().unbonding);
        _startTakeBack(0);
        vm.warp(_held().readyAt);
        _refuses(I.NothingLeaving.selector, abi.encode(first, giver));
        _takeBack();
    }

    /// @dev F: a stranger's wei would restart the wait of another's money.
    function test_a_post_of_somebody_else_delays_nothing() public {
        _startTakeBack(POSTED);
        uint64 readyAt = _held().readyAt;
        vm.warp(readyAt);
        _postBy(stranger, 1);
        eq("amount", _takeBack(), POSTED);
        eq("the wei", _held().held, 1);
        _checkSums();
    }

    /// @dev F: an owner keeps a bond by naming new curators for ever.
    function test_other_deciders_hold_nothing_back() public {
        _curate(2);
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt);
        eq("amount", _takeBack(), POSTED);
    }
}
