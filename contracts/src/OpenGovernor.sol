// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorPreventLateQuorum} from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {IParams, Windows} from "./interfaces/IParams.sol";

/// @dev The first base, since the constructor of {GovernorPreventLateQuorum} compares its extension with the period.
abstract contract VotingTimes {
    uint48 internal immutable _delay;
    uint32 internal immutable _period;

    error BadTimes(uint48 delay, uint32 period);

    constructor(uint48 delay, uint32 period) {
        // F: without a delay, votes could be borrowed after a proposal is seen; a part of the period must remain for
        // those who answer a late quorum.
        if (delay == 0 || period < 3) revert BadTimes(delay, period);
        (_delay, _period) = (delay, period);
    }
}

/// @title Votes on the values of Params, on stakes, and on the protocol's treasury
/// @notice Every token is a vote of whom its holder has delegated it to, at the time at which voting on a proposal
/// begins. What is decided waits in the {Timelock}. Nothing here can be changed: a proposal that calls the governor or
/// its timelock is refused.
contract OpenGovernor is
    VotingTimes,
    Governor,
    GovernorCountingSimple,
    GovernorVotes,
    GovernorTimelockControl,
    GovernorPreventLateQuorum
{
    /// @dev 4 % of all votes.
    uint256 private constant QUORUM_PART = 25;

    /// @notice The least number of votes that a decision takes, however few there are.
    uint256 public immutable quorumFloor;
    uint256 private immutable _threshold;
    /// @dev Proposals that take a stake.
    mapping(uint256 id => bool) private _isSlash;

    /// @dev F: a majority could shorten the wait, or let somebody else propose, for all votes to come.
    error FixedTarget(address target);
    error ZeroFloor();
    error OtherGovernor(address governor, address timelock);
    /// @dev A node that unbonds must stay within reach of a vote about its last receipt, and of one more after it.
    error UnbondingTooShort(uint256 unbonding, uint256 needed);

    /// @notice `delay` and `period` in seconds, `threshold` and `floor` in votes.
    constructor(
        IVotes votes,
        TimelockController timelock_,
        IParams params,
        uint48 delay,
        uint32 period,
        uint256 threshold,
        uint256 floor
    )
        VotingTimes(delay, period)
        Governor("OpenLedger")
        GovernorVotes(votes)
        GovernorTimelockControl(timelock_)
        GovernorPreventLateQuorum(period / 3)
    {
        Windows memory windows = params.windows();
        // The longest vote: a quorum in the last second makes it a third longer.
        uint256 needed = uint256(delay) + period + period / 3 + timelock_.getMinDelay() + windows.slashGap;
        if (floor == 0) revert ZeroFloor();
        if (params.governor() != address(timelock_)) revert OtherGovernor(params.governor(), address(timelock_));
        if (windows.unbonding < needed) revert UnbondingTooShort(windows.unbonding, needed);
        (quorumFloor, _threshold) = (floor, threshold);
    }

    /// @notice 4 % of all votes that existed, and never less than the floor.
    function quorum(uint256 timepoint) public view override returns (uint256) {
        return Math.max(token().getPastTotalSupply(timepoint) / QUORUM_PART, quorumFloor);
    }

    /// @notice The seconds between a proposal and its vote.
    function votingDelay() public view override returns (uint256) {
        return _delay;
    }

    /// @notice The seconds of a vote.
    function votingPeriod() public view override returns (uint256) {
        return _period;
    }

    /// @notice The votes that a proposer needs.
    function proposalThreshold() public view override returns (uint256) {
        return _threshold;
    }

    /* WHERE TWO BASES MEET */

    function state(uint256 id) public view override(Governor, GovernorTimelockControl) returns (ProposalState) {
        return super.state(id);
    }

    function proposalDeadline(uint256 id)
        public
        view
        override(Governor, GovernorPreventLateQuorum)
        returns (uint256)
    {
        return super.proposalDeadline(id);
    }

    function proposalNeedsQueuing(uint256 id) public view override(Governor, GovernorTimelockControl) returns (bool) {
        return super.proposalNeedsQueuing(id);
    }

    function _propose(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer
    ) internal override returns (uint256 id) {
        bool isSlash = false;
        for (uint256 i = 0; i < targets.length; ++i) {
            if (targets[i] == address(this) || targets[i] == timelock()) revert FixedTarget(targets[i]);
            if (bytes4(calldatas[i]) == INodeStaking.slash.selector) isSlash = true;
        }
        id = super._propose(targets, values, calldatas, description, proposer);
        if (isSlash) _isSlash[id] = true;
    }

    /// @dev F: by a bare majority, those who compete with a node could take its stake. A stake is lost only if two
    /// thirds of all votes that are cast, abstentions among them, are for it.
    function _voteSucceeded(uint256 id) internal view override(Governor, GovernorCountingSimple) returns (bool) {
        if (!_isSlash[id]) return super._voteSucceeded(id);
        (uint256 against, uint256 for_, uint256 abstain) = proposalVotes(id);
        return for_ >= 2 * (against + abstain);
    }

    function _tallyUpdated(uint256 id) internal override(Governor, GovernorPreventLateQuorum) {
        super._tallyUpdated(id);
    }

    function _queueOperations(
        uint256 id,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return super._queueOperations(id, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 id,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        super._executeOperations(id, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}
