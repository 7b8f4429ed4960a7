// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IParams, Values} from "../../src/interfaces/IParams.sol";
import {IOpenGovernor, ITimelock} from "./Contracts.sol";
import {vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice A network that its votes govern: the timelock is the governor of Params, and the treasury. The governor is
/// made in the order in which a network is deployed.
abstract contract Governed is World {
    struct Proposal {
        address[] targets;
        uint256[] values;
        bytes[] calls;
        string description;
    }

    uint48 internal VOTING_DELAY = 1 days;
    uint32 internal VOTING = 3 days;
    uint256 internal WAIT = 2 days;
    uint256 internal constant THRESHOLD = 1_000 * uint256(OPEN);
    uint256 internal constant FLOOR = 1_000_000 * uint256(OPEN);

    uint8 internal constant AGAINST = 0;
    uint8 internal constant FOR = 1;
    uint8 internal constant ABSTAIN = 2;

    address internal voter = address(0xF1);
    address internal rival = address(0xF2);
    ITimelock internal timelock;
    IOpenGovernor internal gov;

    function setUp() public virtual override {
        timelock = ITimelock(_new("Timelock", abi.encode(WAIT, address(this))));
        (governor, treasury) = (address(timelock), address(timelock));
        super.setUp();
        gov = _governor(IVotes(address(token)), FLOOR);
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(gov));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(gov));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));
        _vote(voter, 50_000_000 * uint256(OPEN));
        _vote(rival, 50_000_000 * uint256(OPEN));
        vm.warp(block.timestamp + 1);
    }

    function _governor(IVotes votes, uint256 floor) internal returns (IOpenGovernor) {
        return IOpenGovernor(
            _new("OpenGovernor", abi.encode(votes, timelock, params, VOTING_DELAY, VOTING, THRESHOLD, floor))
        );
    }

    function _vote(address account, uint256 votes) internal {
        token.transfer(account, votes);
        vm.prank(account);
        token.delegate(account);
    }

    function _call(address target, bytes memory data) internal pure returns (Proposal memory p) {
        (p.targets, p.values, p.calls) = (new address[](1), new uint256[](1), new bytes[](1));
        (p.targets[0], p.calls[0], p.description) = (target, data, "why");
    }

    function _setting(Values memory v) internal view returns (Proposal memory) {
        return _call(address(params), abi.encodeCall(IParams.set, (v)));
    }

    function _slashing(uint128 amount) internal view returns (Proposal memory) {
        return _call(address(staking), abi.encodeCall(INodeStaking.slash, (node, amount, "evidence")));
    }

    function _proposeBy(address account, Proposal memory p) internal returns (uint256) {
        vm.prank(account);
        return gov.propose(p.targets, p.values, p.calls, p.description);
    }

    /// @dev Propose, and wait until voting has begun.
    function _begun(Proposal memory p) internal returns (uint256 id) {
        id = _proposeBy(voter, p);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
    }

    function _castBy(address account, uint256 id, uint8 support) internal {
        vm.prank(account);
        gov.castVote(id, support);
    }

    function _queue(Proposal memory p) internal {
        gov.queue(p.targets, p.values, p.calls, keccak256(bytes(p.description)));
    }

    function _execute(Proposal memory p) internal {
        gov.execute(p.targets, p.values, p.calls, keccak256(bytes(p.description)));
    }

    /// @dev Proposed, voted for, waited for: all but executed.
    function _decided(Proposal memory p) internal returns (uint256 id) {
        id = _begun(p);
        _castBy(voter, id, FOR);
        vm.warp(block.timestamp + VOTING);
        _queue(p);
        vm.warp(block.timestamp + WAIT);
    }

    function _is(uint256 id, IGovernor.ProposalState expected) internal view {
        eq("state", uint256(gov.state(id)), uint256(expected));
    }
}
