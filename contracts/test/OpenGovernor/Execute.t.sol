// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IParams, Values} from "../../src/interfaces/IParams.sol";
import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

contract ExecuteTest is Governed {
    function _changed() private pure returns (Values memory v) {
        v = values();
        v.dataPpm = 250_000;
    }

    function test_a_vote_moves_a_share_two_epochs_later() public {
        Proposal memory p = _setting(_changed());
        uint256 id = _decided(p);
        _execute(p);
        _is(id, IGovernor.ProposalState.Executed);
        uint64 epoch = params.epochAt(uint64(block.timestamp));
        eq("not yet", params.valuesAt(epoch + 1).dataPpm, 200_000);
        eq("then", params.valuesAt(epoch + 2).dataPpm, 250_000);
    }

    /// @dev F: judges earned from a verdict (N4), and a node could be out of reach by the time of one. The quorum comes
    /// in the last second, which makes the vote a third longer, and another slash went just before.
    function test_a_vote_burns_the_stake_of_a_node_that_leaves() public {
        vm.prank(node);
        staking.unbond(STAKE);
        Proposal memory p = _slashing(MIN_STAKE);
        uint256 id = _proposeBy(voter, p);
        vm.warp(gov.proposalDeadline(id));
        _castBy(voter, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        _queue(p);
        vm.warp(block.timestamp + WAIT - 1);
        vm.prank(governor);
        staking.slash(node, 1, "another");
        vm.warp(block.timestamp + 1);
        vm.expectPartialRevert(INodeStaking.SlashedLately.selector);
        _execute(p);
        vm.warp(block.timestamp + windows().slashGap - 1);
        _execute(p);
        eq("burnt", token.balanceOf(BURNT), MIN_STAKE + 1);
        eq("nobody gains", token.balanceOf(address(timelock)), 0);
    }

    function test_the_treasury_is_spent_by_a_vote() public {
        token.transfer(address(timelock), 9);
        Proposal memory p = _call(address(token), abi.encodeCall(token.transfer, (alice, 9)));
        _decided(p);
        _execute(p);
        eq("alice", token.balanceOf(alice), 9);
    }

    function test_a_vote_ends_the_guardians_stop() public {
        vm.prank(guardian);
        channels.stopDeposits(30 days);
        _decided(_resuming());
        _execute(_resuming());
        eq("until", channels.stoppedUntil(), block.timestamp);
    }

    function _resuming() private view returns (Proposal memory) {
        return _call(address(channels), abi.encodeCall(channels.resumeDeposits, ()));
    }

    /// @dev F: no majority leaves the bounds, moves a share or a minimum far, or lets an unknown algorithm decide.
    function test_no_vote_leaves_the_bounds() public {
        Values memory v = values();
        v.protocolPpm = 100_001;
        _isRefused(_setting(v), IParams.OutOfBounds.selector);
        v = values();
        v.dataPpm = 300_000;
        _isRefused(_setting(v), IParams.ShareStep.selector);
        v = values();
        v.minStake = 100_000 * OPEN;
        _isRefused(_setting(v), IParams.MinimumStep.selector);
        v = values();
        v.algoId = 6;
        _isRefused(_setting(v), IParams.UnknownAlgorithm.selector);
    }

    function test_no_vote_reaches_what_is_not_governed() public {
        _isRefused(_slashing(MIN_STAKE + 1), INodeStaking.SlashTooLarge.selector);
        _isRefused(_call(address(channels), abi.encodeCall(channels.stopDeposits, (1))), I.NotGuardian.selector);
        _isRefused(_call(address(token), abi.encodeCall(token.transferFrom, (node, alice, 1))), bytes4(0));
    }

    function _isRefused(Proposal memory p, bytes4 reason) private {
        uint256 state = vm.snapshotState();
        uint256 id = _decided(p);
        if (reason == 0) vm.expectRevert();
        else vm.expectPartialRevert(reason);
        _execute(p);
        _is(id, IGovernor.ProposalState.Queued);
        vm.revertToState(state);
    }

    function test_not_before_the_wait_is_over() public {
        Proposal memory p = _setting(_changed());
        uint256 id = _begun(p);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _queue(p);
        _castBy(voter, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        vm.expectRevert();
        _execute(p);
        _queue(p);
        vm.warp(block.timestamp + WAIT - 1);
        vm.expectRevert();
        _execute(p);
        vm.warp(block.timestamp + 1);
        _execute(p);
    }

    function test_once() public {
        Proposal memory p = _setting(_changed());
        _decided(p);
        _execute(p);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _execute(p);
    }

    function test_a_defeated_one_never() public {
        Proposal memory p = _setting(_changed());
        uint256 id = _begun(p);
        _castBy(rival, id, AGAINST);
        vm.warp(gov.proposalDeadline(id) + 1);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _queue(p);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _execute(p);
    }
}
