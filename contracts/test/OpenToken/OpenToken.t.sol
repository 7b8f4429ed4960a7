// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract OpenTokenTest is World {
    /// @dev F: no emissions. There is no function that makes a token, by name or by any of the usual selectors.
    function test_the_supply_is_there_from_the_start_and_nobody_makes_more() public {
        eq("supply", token.totalSupply(), 1_000_000_000 * uint256(OPEN));
        string[4] memory makers =
            ["mint(address,uint256)", "mint(uint256)", "issue(uint256)", "increaseSupply(uint256)"];
        for (uint256 i = 0; i < makers.length; ++i) {
            (bool success,) = address(token).call(abi.encodeWithSignature(makers[i], address(this), 1));
            yes(makers[i], !success);
        }
    }

    function test_transfers_move_and_make_nothing() public {
        vm.prank(payer);
        token.transfer(alice, 7);
        eq("alice", token.balanceOf(alice), 7);
        eq("supply", token.totalSupply(), 1_000_000_000 * uint256(OPEN));
    }

    function test_votes_are_counted_by_time_and_only_when_delegated() public {
        eq("clock", token.clock(), block.timestamp);
        eq("mode", keccak256(bytes(token.CLOCK_MODE())), keccak256("mode=timestamp"));
        eq("undelegated", token.getVotes(payer), 0);
        vm.prank(payer);
        token.delegate(alice);
        eq("delegated", token.getVotes(alice), token.balanceOf(payer));
        vm.prank(payer);
        token.transfer(bob, 7);
        eq("follows", token.getVotes(alice), token.balanceOf(payer));
        uint256 then = block.timestamp;
        vm.warp(then + 1);
        eq("past", token.getPastVotes(alice, then), token.balanceOf(payer));
    }

    function test_a_permit_counts_once() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), 7);
        uint256 deadline = _deadline();
        token.permit(payer, address(channels), 7, deadline, v, r, s);
        eq("allowance", token.allowance(payer, address(channels)), 7);
        eq("nonce", token.nonces(payer), 1);
        vm.expectPartialRevert(bytes4(keccak256("ERC2612InvalidSigner(address,address)")));
        token.permit(payer, address(channels), 7, deadline, v, r, s);
    }
}
