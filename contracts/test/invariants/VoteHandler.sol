// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {INodeStaking, UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

/// @notice All that can be done with proposals and stakes, in any order. What would be refused is not tried, except by
/// {steal}.
contract VoteHandler is Governed {
    uint256 private constant NODES = 3;

    /// @dev `amount` is 0 where no stake is to be taken.
    struct Ballot {
        Proposal proposal;
        address node;
        uint128 amount;
        uint256 votesFor;
        uint256 votes;
    }

    mapping(string action => uint256) public numCalls;

    address internal third = address(0xF3);
    uint256[] private _proposalIds;
    mapping(uint256 id => Ballot) private _ballots;
    uint256 private _bondedIn;
    uint256 private _withdrawn;
    uint256 private _slashed;

    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    function setUp() public override {
        super.setUp();
        _vote(third, 50_000_000 * uint256(OPEN));
        vm.warp(block.timestamp + 1);
        _bondedIn = STAKE;
        for (uint256 n = 1; n < NODES; ++n) _fund(_nodeOf(n));
    }

    function _nodeOf(uint256 n) private view returns (address) {
        return n % NODES == 0 ? node : address(uint160(0xE000 + n % NODES));
    }

    // ---- stakes and time ----

    function bond(uint256 n) external counted("bond") {
        vm.prank(_nodeOf(n));
        staking.bond(MIN_STAKE);
        _bondedIn += MIN_STAKE;
    }

    function unbond(uint256 n, uint256 amount) external {
        uint128 bonded = staking.bondedOf(_nodeOf(n));
        if (bonded > 0 && staking.unbondRequests(_nodeOf(n)).length < 16) {
            _unbond(n, uint128(amount % 2 == 0 ? bonded : within(amount, 1, bonded)));
        }
    }

    function _unbond(uint256 n, uint128 amount) private counted("unbond") {
        vm.prank(_nodeOf(n));
        staking.unbond(amount);
    }

    function leaveStake(uint256 n) public {
        UnbondRequest[] memory requests = staking.unbondRequests(_nodeOf(n));
        if (requests.length > 0 && requests[0].readyAt <= block.timestamp) _leaveStake(n);
    }

    function _leaveStake(uint256 n) private counted("leave") {
        uint256 before = token.balanceOf(_nodeOf(n));
        vm.prank(_nodeOf(n));
        staking.withdraw();
        _withdrawn += token.balanceOf(_nodeOf(n)) - before;
    }

    function wait(uint256 time) external counted("wait") {
        vm.warp(block.timestamp + within(time, 1, 3 days));
    }

    /// @dev A slash without a vote: if one worked, the books would not agree.
    function steal(uint256 n) external counted("steal") {
        address[5] memory all = [stranger, guardian, voter, address(gov), _nodeOf(n)];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.prank(all[i]);
            try staking.slash(_nodeOf(n), 1, "") {} catch {}
        }
    }

    // ---- proposals ----

    function proposeValues(uint256 seed) external {
        if (_isCalm()) _proposeValues(seed);
    }

    /// @dev Two proposals at a time, so that the few votes decide many of them.
    function _isCalm() private view returns (bool) {
        uint256 num = _proposalIds.length;
        return num < 2 || uint256(gov.state(_proposalIds[num - 2])) > uint256(IGovernor.ProposalState.Active);
    }

    function _proposeValues(uint256 seed) private counted("propose") {
        Values memory v = values();
        v.guidePrice = uint128(within(seed, 1, OPEN + OPEN / 10));
        _propose(_setting(v), address(0), 0);
    }

    function proposeSlash(uint256 n, uint256 amount) external {
        if (_isCalm()) _proposeSlash(n, amount);
    }

    function _proposeSlash(uint256 n, uint256 amount) private counted("propose a slash") {
        uint128 amount_ = uint128(within(amount, 1, MIN_STAKE));
        bytes memory data = abi.encodeCall(INodeStaking.slash, (_nodeOf(n), amount_, "evidence"));
        _propose(_call(address(staking), data), _nodeOf(n), amount_);
    }

    function _propose(Proposal memory p, address it, uint128 amount) private {
        p.description = vm.toString(_proposalIds.length);
        uint256 id = _proposeBy(voter, p);
        Ballot storage ballot = _ballots[id];
        (ballot.proposal, ballot.node, ballot.amount) = (p, it, amount);
        _proposalIds.push(id);
    }

    /// @dev One of the last four.
    function _recent(uint256 seed) private view returns (uint256) {
        uint256 newest = _proposalIds.length - 1;
        return _proposalIds[newest - seed % (newest < 3 ? newest + 1 : 4)];
    }

    function castVote(uint256 seed, uint256 who, uint256 support) external {
        if (_proposalIds.length == 0) return;
        uint256 id = _recent(seed);
        address[3] memory all = [voter, rival, third];
        if (gov.state(id) != IGovernor.ProposalState.Active || gov.hasVoted(id, all[who % 3])) return;
        _cast(id, all[who % 3], support % 5 < 3 ? FOR : support % 5 == 3 ? AGAINST : ABSTAIN);
    }

    function _cast(uint256 id, address who, uint8 support) private counted("vote") {
        _castBy(who, id, support);
        _ballots[id].votes += 50_000_000 * uint256(OPEN);
        if (support == FOR) _ballots[id].votesFor += 50_000_000 * uint256(OPEN);
    }

    function carryOut(uint256 seed) external {
        if (_proposalIds.length > 0) _carryOut(_recent(seed));
    }

    function _carryOut(uint256 id) private {
        IGovernor.ProposalState state = gov.state(id);
        Ballot memory ballot = _ballots[id];
        bool isTwoThirds = 3 * ballot.votesFor >= 2 * ballot.votes;
        if (state == IGovernor.ProposalState.Defeated && ballot.votesFor > 0 && !isTwoThirds) ++numCalls["defeat"];
        if (state == IGovernor.ProposalState.Succeeded) {
            yes("a stake goes by two thirds", ballot.amount == 0 || isTwoThirds);
            _queue(ballot.proposal);
            ++numCalls["queue"];
        }
        if (state == IGovernor.ProposalState.Queued && block.timestamp >= gov.proposalEta(id)) _tryToExecute(id);
    }

    /// @dev A slash too soon after another, or of a node without a stake, is refused, and may be tried again.
    function _tryToExecute(uint256 id) private {
        Ballot memory ballot = _ballots[id];
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(ballot.node);
        uint64 last = staking.slashedAt(ballot.node);
        bool isLate = last != 0 && block.timestamp < last + windows().slashGap;
        try this.execute(id) {
            ++numCalls[ballot.amount == 0 ? "execute" : "slash"];
            yes("not too often, and not of nothing", ballot.amount == 0 || (!isLate && bonded + unbonding > 0));
            _slashed += ballot.amount < bonded + unbonding ? ballot.amount : bonded + unbonding;
        } catch {
            ++numCalls["refused"];
        }
    }

    function execute(uint256 id) external {
        _execute(_ballots[id].proposal);
    }

    // ---- what holds at any time ----

    function check() external view {
        INodeStaking.Totals memory totals = staking.totals();
        uint256 stakes = 0;
        for (uint256 n = 0; n < NODES; ++n) {
            (uint128 bonded, uint128 unbonding) = staking.nodeOf(_nodeOf(n));
            stakes += bonded + unbonding;
        }
        eq("slashed", totals.slashed, _slashed);
        eq("and burnt", token.balanceOf(BURNT), _slashed);
        eq("what was bonded is somewhere", _bondedIn, stakes + _withdrawn + _slashed);
        eq("held", token.balanceOf(address(staking)), stakes);
        eq("nothing moves the wait", timelock.getMinDelay(), WAIT);
    }

    // ---- everything ends ----

    /// @notice Every proposal ends, and every stake leaves within the unbonding time.
    function leave() external {
        vm.warp(block.timestamp + VOTING_DELAY + VOTING + VOTING / 3 + 1);
        for (uint256 i = 0; i < _proposalIds.length; ++i) _carryOut(_proposalIds[i]);
        vm.warp(block.timestamp + WAIT);
        for (uint256 i = 0; i < _proposalIds.length; ++i) _carryOut(_proposalIds[i]);
        for (uint256 i = 0; i < _proposalIds.length; ++i) {
            yes("not open", uint256(gov.state(_proposalIds[i])) > uint256(IGovernor.ProposalState.Active));
        }
        vm.warp(block.timestamp + windows().unbonding);
        for (uint256 n = 0; n < NODES; ++n) leaveStake(n);
        for (uint256 n = 0; n < NODES; ++n) {
            uint128 bonded = staking.bondedOf(_nodeOf(n));
            if (bonded > 0) _unbond(n, bonded);
        }
        vm.warp(block.timestamp + windows().unbonding);
        for (uint256 n = 0; n < NODES; ++n) leaveStake(n);
        eq("all stakes left", token.balanceOf(address(staking)), 0);
    }
}
