// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

/// @notice All that can be done with cases, stakes and proposals, in any order. What would be refused is not tried,
/// except by {steal}.
contract CaseHandler is Governed {
    uint256 private constant NODES = 3;
    uint256 private constant FIRST_KEY = 0xE1;

    mapping(string action => uint256) public numCalls;

    bytes32[] private _digests;
    mapping(bytes32 digest => uint256) private _bondOf;
    uint256 private _in;
    uint256 private _out;
    uint256 private _paid;
    uint256 private _slashed;
    uint256 private _donated;
    uint256 private _numReceipts;
    uint256[] private _proposalIds;
    Proposal[] private _proposals;

    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    function setUp() public override {
        super.setUp();
        for (uint256 n = 0; n < NODES; ++n) {
            _fund(_nodeOf(n));
            _mayBond(_nodeOf(n));
            vm.prank(_nodeOf(n));
            staking.bond(STAKE);
        }
    }

    function _nodeOf(uint256 n) private pure returns (address) {
        return vm.addr(FIRST_KEY + n % NODES);
    }

    function _whoOf(uint256 n) private view returns (address) {
        address[5] memory all = [payer, authorizer, stranger, _nodeOf(n), treasury];
        return all[n % 5];
    }

    // ---- cases ----

    function challenge(uint256 n, uint256 who) external {
        if (_isChallengeable(n)) _challengeNode(n, who % 2 == 0 ? payer : authorizer);
    }

    function _isChallengeable(uint256 n) private view returns (bool) {
        address it = _nodeOf(n);
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(it);
        uint64 slashedAt = cases.recordOf(it).slashedAt;
        bool isLate = slashedAt != 0 && block.timestamp < slashedAt + 7 days;
        return bonded + unbonding > 0 && !isLate && cases.sidesOf(it).challenger == address(0);
    }

    function _challengeNode(uint256 n, address who) private counted("challenge") {
        ChannelConfig memory config = _config(1);
        config.node = _nodeOf(n);
        Evidence memory e = _evidence(config, _numReceipts++, "prompt", "output");
        _signBy(FIRST_KEY + n % NODES, e);
        bytes32 digest = _challengeBy(who, e);
        _bondOf[digest] = cases.bondNow();
        _in += _bondOf[digest];
        _digests.push(digest);
    }

    /// @dev The last case that was opened, or an earlier one.
    function _pick(uint256 which) private view returns (bytes32 digest, IDisputes.Case memory case_) {
        if (_digests.length == 0) return (0, case_);
        uint256 newest = _digests.length - 1;
        digest = _digests[newest - which % (newest < 3 ? newest + 1 : 3)];
        case_ = cases.caseOf(digest);
    }

    function contest(uint256 which, uint256 who) external {
        (bytes32 digest, IDisputes.Case memory case_) = _pick(which);
        if (case_.state != IDisputes.State.Open || rewards.activeSince(case_.openedAt) > 2 days) return;
        address before = cases.sidesOf(case_.node).contester;
        address it = who % 2 == 0 ? stranger : case_.node;
        if (before != address(0) && (it != case_.node || before == it)) return;
        _contestCase(digest, it, before != address(0));
    }

    function _contestCase(bytes32 digest, address who, bool isTakenOver)
        private
        counted(isTakenOver ? "take over" : "contest")
    {
        _contestBy(who, digest);
        _in += _bondOf[digest];
        if (isTakenOver) _out += _bondOf[digest];
    }

    function judge(uint256 which, bool guilty) external {
        (bytes32 digest, IDisputes.Case memory case_) = _pick(which);
        if (case_.state != IDisputes.State.Open || rewards.activeSince(case_.openedAt) > 14 days) return;
        _judgeCase(digest, case_.node, guilty);
    }

    function _judgeCase(bytes32 digest, address it, bool guilty) private counted(guilty ? "guilty" : "not guilty") {
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(it);
        uint256 stake = bonded + unbonding;
        _ended(digest, it);
        _judge(digest, guilty);
        if (guilty) _slashed += stake < MIN_STAKE ? stake : MIN_STAKE;
    }

    function close(uint256 which) external {
        (bytes32 digest, IDisputes.Case memory case_) = _pick(which);
        if (case_.state == IDisputes.State.Open) _closeCase(digest, case_);
    }

    function _closeCase(bytes32 digest, IDisputes.Case memory case_) private counted("close") {
        uint256 active = rewards.activeSince(case_.openedAt);
        if (active <= 14 days) vm.warp(block.timestamp + 14 days + 1 - active);
        if (rewards.activeSince(case_.openedAt) <= 14 days) vm.warp(block.timestamp + 7 days);
        _ended(digest, case_.node);
        cases.close(digest);
    }

    function _ended(bytes32 digest, address it) private {
        _out += cases.sidesOf(it).contester == address(0) ? _bondOf[digest] : 2 * _bondOf[digest];
    }

    function withdraw(uint256 who) external {
        if (cases.balanceOf(_whoOf(who)) > 0) _withdraw(_whoOf(who));
    }

    function _withdraw(address who) private counted("withdraw") {
        _paid += _withdrawAll(who);
    }

    // ---- stakes, time, gifts, theft ----

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

    /// @dev True if all that is ripe has left.
    function leaveStake(uint256 n) public returns (bool) {
        UnbondRequest[] memory requests = staking.unbondRequests(_nodeOf(n));
        if (requests.length == 0) return true;
        if (block.timestamp < requests[0].readyAt || block.timestamp < staking.heldUntil(_nodeOf(n))) return false;
        _leaveStake(n);
        return staking.unbondRequests(_nodeOf(n)).length == 0;
    }

    function _leaveStake(uint256 n) private counted("leave") {
        vm.prank(_nodeOf(n));
        staking.withdraw();
    }

    function bond(uint256 n) external counted("bond") {
        vm.prank(_nodeOf(n));
        staking.bond(MIN_STAKE);
    }

    function wait(uint256 time) external counted("wait") {
        vm.warp(block.timestamp + within(time, 1, 3 days));
    }

    function pause(uint256 duration) external {
        (, uint64 until,) = rewards.latestPause();
        if (until == 0 || block.timestamp >= until + 30 days) _pause(uint64(within(duration, 1, 7 days)));
    }

    function _pause(uint64 duration) private counted("pause") {
        vm.prank(guardian);
        rewards.pause(duration);
    }

    function donate(uint256 amount) external counted("donate") {
        _donated += amount = within(amount, 0, OPEN);
        token.transfer(address(cases), amount);
    }

    /// @dev A second verdict, an early or a second end, another's balance: if one worked, the books would not agree.
    function steal(uint256 which) external counted("steal") {
        (bytes32 digest, IDisputes.Case memory case_) = _pick(which);
        bool isOpen = case_.state == IDisputes.State.Open;
        if (!isOpen || rewards.activeSince(case_.openedAt) <= 14 days) {
            try cases.close(digest) {} catch {}
        }
        if (!isOpen) {
            vm.prank(governor);
            try cases.judge(digest, true) {} catch {}
        }
        try cases.judge(digest, true) {} catch {}
        try cases.withdraw(address(this)) {} catch {}
    }

    // ---- proposals ----

    function propose(uint256 seed) external counted("propose") {
        Values memory v = values();
        v.guidePrice = uint128(within(seed, 1, 2 * OPEN));
        Proposal memory p = _setting(v);
        p.description = vm.toString(_proposalIds.length);
        _proposalIds.push(_proposeBy(voter, p));
        _proposals.push(p);
    }

    /// @dev One of the last four.
    function _recent(uint256 seed) private view returns (uint256) {
        uint256 newest = _proposalIds.length - 1;
        return newest - seed % (newest < 3 ? newest + 1 : 4);
    }

    function castVote(uint256 seed, uint8 support) external {
        if (_proposalIds.length == 0) return;
        uint256 id = _proposalIds[_recent(seed)];
        address who = support % 2 == 0 ? voter : rival;
        if (gov.state(id) == IGovernor.ProposalState.Active && !gov.hasVoted(id, who)) _cast(id, who, support % 3);
    }

    function _cast(uint256 id, address who, uint8 support) private counted("vote") {
        _castBy(who, id, support);
    }

    /// @dev Values out of bounds fail when they are executed, and change nothing.
    function carryOut(uint256 seed) external {
        if (_proposalIds.length > 0) _carryOut(_recent(seed));
    }

    function _carryOut(uint256 i) private {
        IGovernor.ProposalState state = gov.state(_proposalIds[i]);
        if (state == IGovernor.ProposalState.Succeeded) {
            _queue(_proposals[i]);
            ++numCalls["queue"];
        }
        if (state == IGovernor.ProposalState.Queued && block.timestamp >= gov.proposalEta(_proposalIds[i])) {
            try this.execute(i) {
                ++numCalls["execute"];
            } catch {
                ++numCalls["refused"];
            }
        }
    }

    function execute(uint256 i) external {
        _execute(_proposals[i]);
    }

    // ---- what holds at any time ----

    function checkBonds() external view {
        IDisputes.Totals memory totals = cases.totals();
        uint256 open = 0;
        for (uint256 n = 0; n < NODES; ++n) {
            IDisputes.Sides memory sides = cases.sidesOf(_nodeOf(n));
            open += sides.contester == address(0) ? sides.bond : 2 * uint256(sides.bond);
        }
        uint256 balances = _balances();
        eq("bonds in", totals.bondsIn, _in);
        eq("bonds out", totals.bondsOut, _out);
        eq("the rest is in open cases", _in, _out + open);
        eq("slashed", totals.slashed, _slashed);
        eq("and by the stakes", staking.totals().slashed, _slashed);
        eq("paid", totals.paidOut, _paid);
        eq("what came out is paid or a balance", _out + _slashed, _paid + balances);
        eq("held", token.balanceOf(address(cases)), open + balances + _donated);
    }

    function _balances() private view returns (uint256 sum) {
        address[4] memory all = [payer, authorizer, stranger, treasury];
        for (uint256 i = 0; i < all.length; ++i) sum += cases.balanceOf(all[i]);
        for (uint256 n = 0; n < NODES; ++n) sum += cases.balanceOf(_nodeOf(n));
    }

    function checkCases() external view {
        for (uint256 n = 0; n < NODES; ++n) {
            uint256 numOpen = 0;
            for (uint256 i = 0; i < _digests.length; ++i) {
                IDisputes.Case memory case_ = cases.caseOf(_digests[i]);
                if (case_.node == _nodeOf(n) && case_.state == IDisputes.State.Open) ++numOpen;
            }
            yes("one open case at most", numOpen <= 1);
            yes("who has none has no sides", (cases.sidesOf(_nodeOf(n)).bond != 0) == (numOpen == 1));
            yes("who has none is not held", numOpen == 1 || staking.heldUntil(_nodeOf(n)) == 0);
        }
        eq("nothing moves the wait", timelock.getMinDelay(), WAIT);
    }

    // ---- everything ends ----

    /// @notice Every case and every proposal ends, all bonds come back, and every stake leaves, though somebody opens
    /// a case whenever that is possible, and nobody ever judges.
    function leave() external {
        for (uint256 i = 0; i < _digests.length; ++i) {
            IDisputes.Case memory case_ = cases.caseOf(_digests[i]);
            if (case_.state == IDisputes.State.Open) _closeCase(_digests[i], case_);
        }
        vm.warp(block.timestamp + VOTING_DELAY + VOTING + VOTING / 3 + 1);
        for (uint256 i = 0; i < _proposalIds.length; ++i) _endProposal(i);
        for (uint256 n = 0; n < NODES; ++n) _leaveHarassed(n);
        for (uint256 n = 0; n < 5 * NODES; ++n) if (cases.balanceOf(_whoOf(n)) > 0) _withdraw(_whoOf(n));
        for (uint256 n = 0; n < NODES; ++n) if (cases.balanceOf(_nodeOf(n)) > 0) _withdraw(_nodeOf(n));
        eq("bonds in = bonds out", cases.totals().bondsIn, cases.totals().bondsOut);
        eq("held", token.balanceOf(address(cases)), _donated);
        eq("stakes", staking.totals().bonded + staking.totals().unbonding, STAKE);
    }

    function _endProposal(uint256 i) private {
        _carryOut(i);
        vm.warp(block.timestamp + WAIT);
        _carryOut(i);
        uint256 state = uint256(gov.state(_proposalIds[i]));
        yes("not open", state > uint256(IGovernor.ProposalState.Active));
    }

    function _leaveHarassed(uint256 n) private {
        uint128 bonded = staking.bondedOf(_nodeOf(n));
        if (staking.unbondRequests(_nodeOf(n)).length == 16) vm.warp(block.timestamp + 16 days);
        leaveStake(n);
        if (bonded > 0) _unbond(n, bonded);
        uint256 start = block.timestamp;
        while (!leaveStake(n)) {
            if (_isChallengeable(n)) _challengeNode(n, payer);
            vm.warp(block.timestamp + 1 days);
            (bytes32 digest, IDisputes.Case memory case_) = _pick(0);
            bool isOver = rewards.activeSince(case_.openedAt) > 14 days;
            if (case_.state == IDisputes.State.Open && isOver) {
                _ended(digest, case_.node);
                cases.close(digest);
            }
            yes("in time", block.timestamp <= start + 16 days + 22 days);
        }
        (bytes32 last, IDisputes.Case memory open) = _pick(0);
        if (open.state == IDisputes.State.Open) _closeCase(last, open);
    }
}
