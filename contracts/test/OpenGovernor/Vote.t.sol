// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

contract VoteTest is Governed {
    function test_more_for_than_against_and_a_quorum() public {
        uint256 id = _begun(_setting(values()));
        _castBy(voter, id, FOR);
        _is(id, IGovernor.ProposalState.Active);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Succeeded);
    }

    function test_a_tie_decides_nothing() public {
        uint256 id = _begun(_setting(values()));
        _castBy(voter, id, FOR);
        _castBy(rival, id, AGAINST);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    /// @dev F: those who compete with a node could take its stake by a bare majority (N4).
    function test_a_stake_goes_only_by_two_thirds_of_all_votes_cast() public {
        _vote(alice, 25_000_000 * uint256(OPEN));
        _vote(bob, 1);
        vm.warp(block.timestamp + 1);
        Proposal memory p = _slashing(1);
        uint256 id = _begun(p);
        p.description = "another";
        uint256 other = _proposeBy(voter, p);
        _castBy(voter, id, FOR);
        _castBy(alice, id, ABSTAIN);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Succeeded);
        _castBy(voter, other, FOR);
        _castBy(alice, other, AGAINST);
        _castBy(bob, other, ABSTAIN);
        vm.warp(gov.proposalDeadline(other) + 1);
        _is(other, IGovernor.ProposalState.Defeated);
    }

    /// @dev F: a slash could pass by a bare majority behind a harmless call.
    function test_two_thirds_also_behind_another_call() public {
        Proposal memory p;
        (p.targets, p.values, p.calls) = (new address[](2), new uint256[](2), new bytes[](2));
        (p.targets[0], p.calls[0]) = (address(token), abi.encodeCall(token.transfer, (alice, 0)));
        (p.targets[1], p.calls[1], p.description) = (address(staking), _slashing(1).calls[0], "both");
        _vote(alice, 25_000_001 * uint256(OPEN));
        vm.warp(block.timestamp + 1);
        uint256 id = _begun(p);
        _castBy(voter, id, FOR);
        _castBy(alice, id, AGAINST);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_who_abstains_counts_for_the_quorum_only() public {
        uint256 id = _begun(_setting(values()));
        _castBy(rival, id, ABSTAIN);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_without_a_quorum() public {
        _vote(stranger, 39_000_000 * uint256(OPEN));
        vm.warp(block.timestamp + 1);
        uint256 id = _begun(_setting(values()));
        _castBy(stranger, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    /// @dev F: a wrapper that nobody uses has a supply of which 4 % is a handful of votes.
    function test_the_quorum_is_4_percent_and_at_least_the_floor() public {
        uint256 supply = token.totalSupply();
        eq("4 %", gov.quorum(block.timestamp - 1), supply / 25);
        eq("the floor", _governor(IVotes(address(token)), supply).quorum(block.timestamp - 1), supply);
    }

    /// @dev F: votes borrowed or bought once voting has begun, or in the very second of the snapshot, for one block.
    function test_borrowed_votes_count_for_nothing() public {
        uint256 id = _proposeBy(voter, _setting(values()));
        vm.warp(gov.proposalSnapshot(id));
        vm.prank(rival);
        token.transfer(alice, 40_000_000 * uint256(OPEN));
        vm.prank(alice);
        token.delegate(alice);
        _refuses(IGovernor.GovernorUnexpectedProposalState.selector, abi.encode(id, 0, bytes32(uint256(2))));
        _castBy(alice, id, FOR);
        vm.prank(alice);
        token.transfer(rival, 40_000_000 * uint256(OPEN));
        vm.warp(block.timestamp + 1);
        vm.prank(rival);
        token.transfer(alice, 40_000_000 * uint256(OPEN));
        _castBy(alice, id, FOR);
        (bool success, bytes memory votes) =
            address(gov).staticcall(abi.encodeWithSignature("proposalVotes(uint256)", id));
        (, uint256 votesFor,) = abi.decode(votes, (uint256, uint256, uint256));
        yes("read", success);
        eq("for", votesFor, 0);
    }

    /// @dev F: a staked token that somebody else could vote with.
    function test_staked_and_deposited_tokens_do_not_vote() public view {
        eq("staking", token.getVotes(address(staking)), 0);
        eq("channels", token.getVotes(address(channels)), 0);
    }

    function test_once_each() public {
        uint256 id = _begun(_setting(values()));
        _castBy(voter, id, FOR);
        _refuses(IGovernor.GovernorAlreadyCastVote.selector, abi.encode(voter));
        _castBy(voter, id, FOR);
    }

    function test_for_against_or_abstain() public {
        uint256 id = _begun(_setting(values()));
        _refuses(IGovernor.GovernorInvalidVoteType.selector);
        _castBy(voter, id, 3);
    }

    function test_not_before_and_not_after() public {
        uint256 id = _proposeBy(voter, _setting(values()));
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _castBy(voter, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        _castBy(voter, id, FOR);
    }

    /// @dev F: a large vote in the last second, when nobody can answer it.
    function test_a_late_quorum_leaves_time_to_answer() public {
        uint256 id = _begun(_setting(values()));
        vm.warp(gov.proposalDeadline(id));
        _castBy(voter, id, FOR);
        eq("longer", gov.proposalDeadline(id), block.timestamp + VOTING / 3);
        vm.warp(block.timestamp + VOTING / 3);
        _castBy(rival, id, AGAINST);
        eq("once", gov.proposalDeadline(id), block.timestamp);
        vm.warp(block.timestamp + 1);
        _is(id, IGovernor.ProposalState.Defeated);
    }

    function test_fuzz_a_vote_is_the_tokens_at_the_snapshot(uint256 votes, uint256 moved) public {
        votes = within(votes, 0, 100_000_000 * uint256(OPEN));
        _vote(stranger, votes);
        uint256 held = token.balanceOf(stranger); // with what it had before
        uint256 id = _begun(_setting(values()));
        vm.prank(stranger);
        token.transfer(alice, within(moved, 0, held));
        _castBy(stranger, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        bool isReached = held >= token.totalSupply() / 25;
        _is(id, isReached ? IGovernor.ProposalState.Succeeded : IGovernor.ProposalState.Defeated);
    }
}
