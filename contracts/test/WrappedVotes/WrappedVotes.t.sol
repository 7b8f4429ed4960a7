// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IWrappedVotes as I} from "../support/Contracts.sol";
import {BlockingToken} from "../support/OddTokens.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice A token that keeps a hundredth of each transfer.
contract TaxedToken is ERC20("Taxed", "TAX") {
    constructor() {
        _mint(msg.sender, 1_000);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0), value / 100);
    }
}

contract WrappedVotesTest is World {
    ERC20 private _plain;
    I private _votes;

    function setUp() public override {
        vm.warp(100 days);
        _plain = new BlockingToken(address(this), 1_000);
        _votes = I(_new("WrappedVotes", abi.encode(_plain)));
        _plain.approve(address(_votes), type(uint256).max);
    }

    function test_a_deposit_is_a_vote_of_whom_it_is_delegated_to() public {
        eq("decimals", _votes.decimals(), _plain.decimals());
        eq("clock", _votes.clock(), block.timestamp);
        eq("mode", keccak256(bytes(_votes.CLOCK_MODE())), keccak256("mode=timestamp"));
        _votes.depositFor(alice, 100);
        eq("in", _plain.balanceOf(address(_votes)), 100);
        eq("undelegated", _votes.getVotes(alice), 0);
        vm.prank(alice);
        _votes.delegate(bob);
        eq("votes", _votes.getVotes(bob), 100);
        vm.warp(block.timestamp + 1);
        eq("of all", _votes.getPastTotalSupply(block.timestamp - 1), 100);
    }

    function test_it_comes_out_at_any_time_and_votes_no_more() public {
        _votes.depositFor(address(this), 100);
        _votes.delegate(address(this));
        _votes.withdrawTo(bob, 60);
        eq("bob", _plain.balanceOf(bob), 60);
        eq("votes", _votes.getVotes(address(this)), 40);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientBalance(address,uint256,uint256)")));
        _votes.withdrawTo(bob, 41);
    }

    /// @dev F: votes that nothing is deposited for.
    function test_no_votes_for_nothing() public {
        vm.prank(stranger);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)")));
        _votes.depositFor(stranger, 1);
        _refuses(I.BadReceiver.selector, abi.encode(_votes));
        _votes.depositFor(address(_votes), 1);
    }

    /// @dev F: with a token that keeps a part, more could be taken out than is there.
    function test_a_token_that_takes_fees() public {
        TaxedToken taxed = new TaxedToken();
        I votes = I(_new("WrappedVotes", abi.encode(taxed)));
        taxed.approve(address(votes), 1_000);
        _refuses(bytes4(keccak256("TokenTakesFee(uint256,uint256)")), abi.encode(500, 495));
        votes.depositFor(address(this), 500);
    }

    function test_who_is_refused_stops_no_others() public {
        _votes.depositFor(alice, 1);
        _votes.depositFor(bob, 1);
        BlockingToken(address(_plain)).setBlocked(alice);
        vm.prank(bob);
        _votes.withdrawTo(bob, 1);
        vm.prank(alice);
        _votes.withdrawTo(bob, 1);
        eq("bob", _plain.balanceOf(bob), 2);
    }

    /// @dev F: deposited, voted with and taken out within one second: no snapshot sees it.
    function test_what_stays_for_no_second_never_votes() public {
        _votes.delegate(address(this));
        _votes.depositFor(address(this), 1_000);
        _votes.withdrawTo(address(this), 1_000);
        vm.warp(block.timestamp + 1);
        eq("votes", _votes.getPastVotes(address(this), block.timestamp - 1), 0);
    }

    function test_fuzz_every_vote_is_backed(uint256[8] memory moves) public {
        for (uint256 i = 0; i < moves.length; ++i) {
            (uint256 out, uint256 in_) = (_plain.balanceOf(address(this)), _votes.balanceOf(address(this)));
            if (moves[i] % 2 == 0) _votes.depositFor(address(this), within(moves[i], 0, out));
            else _votes.withdrawTo(address(this), within(moves[i], 0, in_));
            eq("backed", _plain.balanceOf(address(_votes)), _votes.totalSupply());
        }
    }
}
