// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes as I} from "../../src/interfaces/IDisputes.sol";
import {Cases} from "../support/Cases.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {BlockingToken, CallingToken, IHook} from "../support/OddTokens.sol";
import {IToken} from "../support/Contracts.sol";
import {vm} from "../support/Vm.sol";

contract WithdrawTest is Cases {
    function test_all_of_it_to_wherever() public {
        _lapse(_challenge(_evidence(0)));
        _emits(address(cases));
        emit I.Withdrawn(payer, alice, CASE_BOND);
        vm.prank(payer);
        eq("amount", cases.withdraw(alice), CASE_BOND);
        eq("alice", token.balanceOf(alice), CASE_BOND);
        eq("held", token.balanceOf(address(cases)), 0);
        eq("left", cases.balanceOf(payer), 0);
        eq("paid", cases.totals().paidOut, CASE_BOND);
    }

    function test_once_and_only_ones_own() public {
        _lapse(_challenge(_evidence(0)));
        _withdrawAll(payer);
        address[2] memory others = [payer, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NothingToWithdraw.selector, abi.encode(others[i]));
            _withdrawAll(others[i]);
        }
    }

    function test_not_to_nobody() public {
        _lapse(_challenge(_evidence(0)));
        _refuses(I.ZeroAddress.selector);
        vm.prank(payer);
        cases.withdraw(address(0));
    }
}

/// @notice F: one account that a token refuses must not keep a case, a stake or the others' money.
contract BlockedTest is Cases {
    function _token() internal override returns (IToken) {
        return IToken(address(new BlockingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    function _blocked() private returns (BlockingToken blocking) {
        blocking = BlockingToken(address(token));
        address[4] memory refused = [payer, stranger, node, treasury];
        for (uint256 i = 0; i < refused.length; ++i) blocking.setBlocked(refused[i]);
    }

    function test_who_is_refused_stops_no_verdict_and_is_paid_elsewhere() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _blocked();
        vm.expectRevert(bytes("blocked"));
        _contestBy(node, digest);
        eq("as before", cases.sidesOf(node).contester, stranger);
        _judge(digest, true);
        vm.prank(payer);
        cases.withdraw(bob);
        eq("paid", token.balanceOf(bob), MIN_STAKE / 10 + 2 * CASE_BOND);
        vm.prank(treasury);
        cases.withdraw(alice);
        eq("the rest", token.balanceOf(alice), MIN_STAKE - MIN_STAKE / 10);
    }

    function test_nor_a_draw() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _blocked();
        _lapse(digest);
        vm.prank(stranger);
        cases.withdraw(bob);
        eq("paid", token.balanceOf(bob), CASE_BOND);
    }
}

/// @notice F: whoever is called while being paid, or while it pays, could be paid twice.
contract CalledTest is Cases, IHook {
    uint256 private _numCalls;
    uint256 private _numTaken;
    bytes private _attempt;

    function _token() internal override returns (IToken) {
        return IToken(address(new CallingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    function onTransfer(address, address, uint256) external {
        if (_attempt.length == 0) return;
        ++_numCalls;
        (bool success,) = address(cases).call(_attempt);
        if (success) ++_numTaken;
    }

    /// @dev This contract is the payer of the channel, so what it tries in the middle is tried as the payer.
    function _own() private returns (Evidence memory) {
        ChannelConfig memory config = _config(1);
        config.payer = address(this);
        token.approve(address(cases), type(uint256).max);
        CallingToken(address(token)).setHook(this);
        return _evidence(config, 0, "prompt", "output");
    }

    function test_nobody_is_paid_twice() public {
        _lapse(_challengeBy(address(this), _own()));
        uint256 before = token.balanceOf(address(this));
        _attempt = abi.encodeCall(I.withdraw, (address(this)));
        cases.withdraw(address(this));
        yes("called", _numCalls > 0);
        eq("taken", _numTaken, 0);
        eq("paid once", token.balanceOf(address(this)) - before, CASE_BOND);
        eq("held", token.balanceOf(address(cases)), 0);
    }

    function test_no_case_opens_twice() public {
        Evidence memory e = _own();
        _attempt = abi.encodeCall(I.challenge, (e.config, e.receipt, e.shares, e.nodeSig, e.prompt, e.output));
        _challengeBy(address(this), e);
        yes("called", _numCalls > 0);
        eq("taken", _numTaken, 0);
        eq("in", cases.totals().bondsIn, token.balanceOf(address(cases)));
    }
}
