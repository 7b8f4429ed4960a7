// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes as I} from "../../src/interfaces/IDisputes.sol";
import {Cases} from "../support/Cases.sol";
import {vm} from "../support/Vm.sol";

contract ContestTest is Cases {
    function test_anybody_stands_up_for_the_node_with_the_same_bond() public {
        bytes32 digest = _challenge(_evidence(0));
        uint256 before = token.balanceOf(stranger);
        _emits(address(cases));
        emit I.Contested(digest, stranger);
        _contestBy(stranger, digest);
        eq("contester", cases.sidesOf(node).contester, stranger);
        eq("paid", before - token.balanceOf(stranger), CASE_BOND);
        eq("in", cases.totals().bondsIn, 2 * CASE_BOND);
    }

    function test_one_a_case() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _refuses(I.AlreadyContested.selector, abi.encode(digest, stranger));
        _contestBy(authorizer, digest);
        _contestBy(node, digest);
        address[3] memory late = [node, stranger, authorizer];
        for (uint256 i = 0; i < late.length; ++i) {
            _refuses(I.AlreadyContested.selector, abi.encode(digest, node));
            _contestBy(late[i], digest);
        }
    }

    /// @dev F: who challenges and contests with two wallets would get both bonds back, and every challenge were free.
    function test_a_challenger_does_not_keep_the_contest_from_the_node() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(authorizer, digest);
        _contestBy(node, digest);
        eq("its bond is back", cases.balanceOf(authorizer), CASE_BOND);
        _judge(digest, false);
        eq("the challenger's bond", cases.balanceOf(node), 2 * CASE_BOND);
        eq("nothing more", cases.balanceOf(authorizer), CASE_BOND);
        eq("nothing", cases.balanceOf(payer), 0);
    }

    function test_two_days_and_no_second_more() public {
        bytes32 digest = _challenge(_evidence(0));
        uint64 openedAt = uint64(block.timestamp);
        vm.warp(openedAt + 2 days + 1);
        _refuses(I.ContestOver.selector, abi.encode(openedAt));
        _contestBy(stranger, digest);
        vm.warp(openedAt + 2 days);
        _contestBy(stranger, digest);
        vm.warp(openedAt + 2 days + 1);
        _refuses(I.ContestOver.selector, abi.encode(openedAt));
        _contestBy(node, digest);
    }

    function test_time_in_a_pause_does_not_count() public {
        bytes32 digest = _challenge(_evidence(0));
        vm.prank(guardian);
        rewards.pause(7 days);
        vm.warp(block.timestamp + 9 days);
        _contestBy(stranger, digest);
    }

    function test_only_an_open_case() public {
        _refuses(I.NotOpen.selector, abi.encode(bytes32("nothing"), I.State.None));
        _contestBy(stranger, "nothing");
        bytes32 digest = _challenge(_evidence(0));
        _judge(digest, true);
        _refuses(I.NotOpen.selector, abi.encode(digest, I.State.Guilty));
        _contestBy(stranger, digest);
    }

    function test_without_the_money_for_the_bond() public {
        bytes32 digest = _challenge(_evidence(0));
        vm.prank(stranger);
        token.approve(address(cases), CASE_BOND - 1);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)")));
        _contestBy(stranger, digest);
    }
}
