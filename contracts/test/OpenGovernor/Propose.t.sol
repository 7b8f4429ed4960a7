// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IOpenGovernor as I, ITimelock} from "../support/Contracts.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

contract ProposeTest is Governed {
    function test_who_holds_enough_votes_proposes() public {
        Proposal memory p = _setting(values());
        uint256 id = _proposeBy(voter, p);
        _is(id, IGovernor.ProposalState.Pending);
        eq("begins", gov.proposalSnapshot(id), block.timestamp + VOTING_DELAY);
        eq("ends", gov.proposalDeadline(id), block.timestamp + VOTING_DELAY + VOTING);
        eq("proposer", gov.proposalProposer(id), voter);
    }

    /// @dev F: tokens that are delegated to nobody are no votes, and neither is what was borrowed a moment ago.
    function test_without_enough_votes() public {
        Proposal memory p = _setting(values());
        token.transfer(stranger, THRESHOLD);
        _refuses(IGovernor.GovernorInsufficientProposerVotes.selector, abi.encode(stranger, 0, THRESHOLD));
        _proposeBy(stranger, p);
        vm.prank(stranger);
        token.delegate(stranger);
        _refuses(IGovernor.GovernorInsufficientProposerVotes.selector, abi.encode(stranger, 0, THRESHOLD));
        _proposeBy(stranger, p);
        vm.warp(block.timestamp + 1);
        _proposeBy(stranger, p);
    }

    /// @dev F: a majority could take the wait away from all who come later, or let somebody else past the vote.
    function test_nothing_of_governance_itself_can_be_changed() public {
        bytes32 role = timelock.PROPOSER_ROLE();
        bytes[4] memory calls = [
            abi.encodeCall(ITimelock.updateDelay, (0)),
            abi.encodeCall(timelock.grantRole, (role, stranger)),
            abi.encodeCall(timelock.revokeRole, (role, address(gov))),
            abi.encodeCall(ITimelock.schedule, (address(token), 0, "", 0, 0, 0))
        ];
        for (uint256 i = 0; i < calls.length; ++i) _isFixed(address(timelock), calls[i]);
        _isFixed(address(gov), abi.encodeCall(I.updateTimelock, (stranger)));
        _isFixed(address(gov), abi.encodeCall(I.setLateQuorumVoteExtension, (0)));
        _isFixed(address(gov), abi.encodeCall(I.relay, (address(timelock), 0, calls[0])));
    }

    function _isFixed(address target, bytes memory data) private {
        Proposal memory p = _call(target, data);
        _refuses(I.FixedTarget.selector, abi.encode(target));
        _proposeBy(voter, p);
        // Nor behind another call.
        Proposal memory two = _two(_setting(values()), p);
        _refuses(I.FixedTarget.selector, abi.encode(target));
        _proposeBy(voter, two);
    }

    function _two(Proposal memory a, Proposal memory b) private pure returns (Proposal memory p) {
        (p.targets, p.values, p.calls) = (new address[](2), new uint256[](2), new bytes[](2));
        (p.targets[0], p.targets[1]) = (a.targets[0], b.targets[0]);
        (p.calls[0], p.calls[1], p.description) = (a.calls[0], b.calls[0], "both");
    }

    function test_a_proposal_twice() public {
        Proposal memory p = _setting(values());
        _proposeBy(voter, p);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _proposeBy(rival, p);
    }

    function test_only_its_proposer_cancels_and_only_before_the_vote() public {
        Proposal memory p = _setting(values());
        uint256 id = _proposeBy(voter, p);
        bytes32 hash = keccak256(bytes(p.description));
        _refuses(IGovernor.GovernorUnableToCancel.selector, abi.encode(id, rival));
        vm.prank(rival);
        gov.cancel(p.targets, p.values, p.calls, hash);
        uint256 state = vm.snapshotState();
        vm.prank(voter);
        gov.cancel(p.targets, p.values, p.calls, hash);
        _is(id, IGovernor.ProposalState.Canceled);
        vm.revertToState(state);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        _refuses(IGovernor.GovernorUnableToCancel.selector, abi.encode(id, voter));
        vm.prank(voter);
        gov.cancel(p.targets, p.values, p.calls, hash);
    }

    /// @dev F: without a delay, votes could be borrowed for one block once a proposal is seen.
    function test_what_cannot_be_deployed() public {
        _isRefused(I.BadTimes.selector, 0, VOTING, FLOOR);
        _isRefused(I.BadTimes.selector, VOTING_DELAY, 2, FLOOR);
        _isRefused(I.ZeroFloor.selector, VOTING_DELAY, VOTING, 0);
        _new("OpenGovernor", abi.encode(token, timelock, params, uint48(1), uint32(3), THRESHOLD, 1));
    }

    /// @dev F: a vote about a stake that has left by then. The longest one takes a third more, and waits, and another
    /// may have gone before.
    function test_unbonding_outlasts_the_longest_vote() public {
        uint32 most = uint32(16 days - 6 days - WAIT - VOTING_DELAY) / 4 * 3;
        _isRefused(I.UnbondingTooShort.selector, VOTING_DELAY, most + 3, FLOOR);
        _new("OpenGovernor", abi.encode(token, timelock, params, VOTING_DELAY, most, THRESHOLD, FLOOR));
    }

    function test_values_and_stakes_obey_the_same_votes() public {
        ITimelock other = ITimelock(_new("Timelock", abi.encode(WAIT, address(this))));
        bytes memory arguments = abi.encode(token, other, params, VOTING_DELAY, VOTING, THRESHOLD, FLOOR);
        _isRefused(I.OtherGovernor.selector, arguments);
    }

    function _isRefused(bytes4 expected, uint48 delay, uint32 period, uint256 floor) private {
        _isRefused(expected, abi.encode(token, timelock, params, delay, period, THRESHOLD, floor));
    }

    function _isRefused(bytes4 expected, bytes memory arguments) private {
        bytes memory code = abi.encodePacked(vm.getCode("OpenGovernor.sol:OpenGovernor"), arguments);
        bytes4 reason;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            returndatacopy(0, 0, 4)
            reason := mload(0)
        }
        eq("reason", bytes32(reason), bytes32(expected));
    }
}
