// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IAttributionRewards} from "./interfaces/IAttributionRewards.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {IParams, Windows} from "./interfaces/IParams.sol";
import {IPaymentChannels} from "./interfaces/IPaymentChannels.sol";
import {ClaimRecord, NOBODY, Opening, Payout, Pot, PPM} from "./interfaces/Types.sol";
import {Draws, Point} from "./lib/Draws.sol";
import {Openings} from "./lib/Openings.sol";

/// @dev See {IAttributionRewards}.
contract AttributionRewards is IAttributionRewards {
    using SafeERC20 for IERC20;
    using Draws for Pot[];
    using Openings for Opening;

    /* CONSTANTS AND STORAGE */

    struct Account {
        uint128 balance;
        bool onlySelf;
        address payout;
    }

    uint256 private constant PAYOUTS_MAX = 256;
    uint256 private constant LATE_PPM = 100_000;
    uint256 private constant UNLISTED_PART = 10;
    uint128 private constant DUST = 0.001 ether;

    uint8 private constant NODE = 0;
    uint8 private constant OWNER = 1;
    uint8 private constant CONTRIBUTOR = 3;
    uint8 private constant TREASURY = 4;
    uint8 private constant PROTOCOL = 5;

    IERC20 public immutable token;
    IParams public immutable params;
    IPaymentChannels public immutable channels;
    INodeStaking public immutable staking;
    IDatanetRegistry public immutable datanets;
    address public immutable protocolTreasury;
    uint64 private immutable _proposeWindow;
    uint64 private immutable _reviewPeriod;
    uint64 private immutable _redrawBlocks;

    Totals private _totals;
    mapping(address account => Account) private _accounts;
    mapping(address node => mapping(uint64 seq => Proposal)) private _proposals;

    /* CONSTRUCTOR */

    constructor(
        IERC20 token_,
        IParams params_,
        IPaymentChannels channels_,
        INodeStaking staking_,
        IDatanetRegistry datanets_,
        address protocolTreasury_
    ) {
        Windows memory windows = params_.windows();
        if (protocolTreasury_ == address(0)) revert ZeroAddress();
        token = token_;
        params = params_;
        channels = channels_;
        staking = staking_;
        datanets = datanets_;
        protocolTreasury = protocolTreasury_;
        (_proposeWindow, _reviewPeriod, _redrawBlocks) = (windows.propose, windows.window, windows.redrawBlocks);
    }

    /* FROM A CLAIM TO A FINAL LIST */

    /// @inheritdoc IAttributionRewards
    function propose(ClaimRecord calldata record, bytes32 receiptsRoot, Payout[] calldata payouts) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        uint64 readyAt = uint64(block.timestamp) + _reviewPeriod;
        _requireLive(record);
        if (proposal.state != State.None) revert AlreadyProposed(record.node, record.seq);
        if (_isOver(record.claimedAt)) revert ProposeOver(record.claimedAt);
        _requireSigner(record.node);
        _requirePayouts(record.pots, payouts);
        _proposals[record.node][record.seq] = Proposal({
            receiptsRoot: receiptsRoot,
            payoutsHash: keccak256(abi.encode(payouts)),
            readyAt: readyAt,
            drawBlock: 0,
            redraws: 0,
            redrawsMax: _redrawsMax(record),
            state: State.Proposed
        });
        emit Proposed(record.node, record.seq, receiptsRoot, payouts, readyAt);
    }

    /// @inheritdoc IAttributionRewards
    function draw(address node, uint64 seq) external {
        Proposal storage proposal = _proposals[node][seq];
        // No list can be made for the hash of a block that is not there yet.
        uint64 drawBlock = uint64(block.number) + 1;
        _requireSigner(node);
        if (proposal.state != State.Proposed) revert NotProposed(node, seq, proposal.state);
        if (block.timestamp < proposal.readyAt) revert NotReady(proposal.readyAt);
        if (proposal.drawBlock != 0) _countRedraw(proposal);
        proposal.drawBlock = drawBlock;
        emit Drawn(node, seq, drawBlock);
    }

    /// @inheritdoc IAttributionRewards
    function finalize(ClaimRecord calldata record, Payout[] calldata payouts, Opening[] calldata openings) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        bytes32 payoutsHash = keccak256(abi.encode(payouts));
        _requireLive(record);
        if (proposal.state != State.Proposed) revert NotProposed(record.node, record.seq, proposal.state);
        if (block.timestamp < proposal.readyAt) revert NotReady(proposal.readyAt);
        if (payoutsHash != proposal.payoutsHash) revert PayoutsMismatch(proposal.payoutsHash, payoutsHash);
        _requireShown(proposal, record, payouts, openings);
        proposal.state = State.Finalized;
        uint128 unpaid = _creditPots(record, payouts);
        uint128 fee = proposal.redraws * _lapseFee(record);
        fee += _unlistedFee(record, unpaid, record.nodeShare - fee);
        _settle(record, record.nodeShare - fee, record.protocol + fee + unpaid, false);
    }

    /// @inheritdoc IAttributionRewards
    function finalizeLate(ClaimRecord calldata record) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        bool isProposed = proposal.state == State.Proposed;
        _requireLive(record);
        uint64 start = isProposed ? proposal.readyAt : record.claimedAt;
        if (!_isOver(start)) revert NotOver(start);
        proposal.state = State.FinalizedLate;
        uint128 fee = isProposed
            ? (proposal.redraws + 1) * _lapseFee(record)
            : uint128(uint256(record.nodeShare) * LATE_PPM / PPM);
        _settle(record, record.nodeShare - fee, record.protocol + fee + record.pots.sumOf(), true);
    }

    /* BALANCES */

    /// @inheritdoc IAttributionRewards
    function setPayout(address payout, bool onlySelf) external {
        (_accounts[msg.sender].payout, _accounts[msg.sender].onlySelf) = (payout, onlySelf);
        emit PayoutSet(msg.sender, payout, onlySelf);
    }

    /// @inheritdoc IAttributionRewards
    function withdraw(address[] calldata accounts) external {
        bool isPaid = false;
        for (uint256 i = 0; i < accounts.length; ++i) {
            SkipCode code = _payOut(accounts[i]);
            if (code == SkipCode.None) isPaid = true;
            else emit WithdrawSkipped(accounts[i], code);
        }
        if (!isPaid) revert NobodyPaid();
    }

    /* VIEWS */

    /// @inheritdoc IAttributionRewards
    function balanceOf(address account) external view returns (uint128) {
        return _accounts[account].balance;
    }

    /// @inheritdoc IAttributionRewards
    function payoutOf(address account) public view returns (address payout, bool onlySelf) {
        (payout, onlySelf) = (_accounts[account].payout, _accounts[account].onlySelf);
        if (payout == address(0)) payout = account;
    }

    /// @inheritdoc IAttributionRewards
    function proposalOf(address node, uint64 seq) external view returns (Proposal memory) {
        return _proposals[node][seq];
    }

    /// @inheritdoc IAttributionRewards
    function totals() external view returns (Totals memory) {
        return _totals;
    }

    /* DRAWS: INTERNALS */

    /// @dev A draw that was not shown in time is paid for, or else a node could draw until its points are all true
    /// ones.
    function _countRedraw(Proposal storage proposal) private {
        uint64 drawBlock = proposal.drawBlock;
        if (block.number <= drawBlock + _redrawBlocks) revert DrawStands(drawBlock);
        if (proposal.redraws == proposal.redrawsMax) revert NoDrawsLeft(proposal.redrawsMax);
        ++proposal.redraws;
    }

    /// @dev How many draws may lapse so that one more, the last, is still covered by the node's share. {Params}
    /// guarantees that the share covers the first.
    function _redrawsMax(ClaimRecord calldata record) private pure returns (uint8) {
        uint128 fee = _lapseFee(record);
        if (fee == 0 || record.nodeShare / fee > type(uint8).max) return type(uint8).max - 1;
        return uint8(record.nodeShare / fee - 1);
    }

    /// @dev With K draws a list of which the part f is false is caught with the chance p = 1 − (1 − f)^K. It gains f of
    /// all pots and costs, at half of them for each draw that lapses, at least twice that for every f and K of 4 or more.
    function _lapseFee(ClaimRecord calldata record) private pure returns (uint128) {
        return record.pots.sumOf() / 2;
    }

    /// @dev A node that lists nobody would save the gas of its list. The part of the pots that nobody gets costs it a
    /// tenth of that part of its share, as far as `most` allows.
    function _unlistedFee(ClaimRecord calldata record, uint128 unpaid, uint128 most) private pure returns (uint128) {
        if (unpaid == 0) return 0;
        uint256 fee = Math.mulDiv(record.nodeShare, unpaid, UNLISTED_PART * record.pots.sumOf());
        return uint128(Math.min(fee, most));
    }

    /// @dev Every drawn point is shown by the next opening, in order.
    function _requireShown(
        Proposal storage proposal,
        ClaimRecord calldata record,
        Payout[] calldata payouts,
        Opening[] calldata openings
    ) private view {
        uint256 total = record.pots.sumOf();
        bool hasPoints = total > 0 && payouts.length > 0;
        uint256 numDraws = hasPoints ? params.drawsAt(record.epoch) : 0;
        bytes32 seed = hasPoints ? _seedOf(proposal.drawBlock) : bytes32(0);
        bytes32 domain = channels.domainSeparator();
        uint256 next = 0;
        for (uint256 j = 0; j < numDraws; ++j) {
            Point memory point = Draws.pointAt(seed, record, payouts, total, j);
            if (point.account == NOBODY) continue;
            if (next == openings.length) revert WrongOpenings(openings.length, next + 1);
            openings[next++].check(point, record, proposal.receiptsRoot, domain);
        }
        if (next != openings.length) revert WrongOpenings(openings.length, next);
    }

    function _seedOf(uint64 drawBlock) private view returns (bytes32 seed) {
        seed = blockhash(drawBlock);
        if (drawBlock == 0 || seed == 0) revert NoSeed(drawBlock);
    }

    /* CREDITS: INTERNALS */

    /// @dev Credit the listed pots. Returns what nobody gets of them: pots that are not listed, and the part of
    /// {NOBODY}.
    function _creditPots(ClaimRecord calldata record, Payout[] calldata payouts) private returns (uint128 unpaid) {
        uint256 next = 0;
        for (uint256 i = 0; i < record.pots.length; ++i) {
            Pot calldata pot = record.pots[i];
            uint256 first = next;
            uint128 rest = pot.amount;
            for (; next < payouts.length && payouts[next].pot == i; ++next) {
                Payout calldata payout = payouts[next];
                // Account 0 is the treasury, which gets the rest.
                if (payout.account == address(0)) continue;
                uint128 amount = uint128(Math.mulDiv(pot.amount, payout.weight, PPM * pot.gross));
                rest -= amount;
                if (payout.account == NOBODY) unpaid += amount;
                else _credit(record, payout.account, amount, CONTRIBUTOR);
            }
            if (next == first) {
                unpaid += rest;
            } else {
                // slither-disable-next-line unused-return: only the treasury is asked for
                (, address treasury,,) = datanets.datanetOf(pot.datanetId);
                _credit(record, treasury, rest, TREASURY);
            }
        }
    }

    /// @dev Credit everybody except the contributors. Tokens move last: the claim's gross comes in.
    function _settle(ClaimRecord calldata record, uint128 nodeShare, uint128 protocol, bool late) private {
        _credit(record, record.node, nodeShare, NODE);
        for (uint256 i = 0; i < record.credits.length; ++i) {
            _credit(record, record.credits[i].account, record.credits[i].amount, OWNER);
        }
        _credit(record, protocolTreasury, protocol, PROTOCOL);
        _totals.credited += record.gross;
        emit Finalized(record.node, record.seq, late);
        channels.release(record);
    }

    function _credit(ClaimRecord calldata record, address account, uint128 amount, uint8 role) private {
        if (amount == 0) return;
        _accounts[account].balance += amount;
        emit Credited(account, record.node, record.seq, amount, role);
    }

    /// @dev F: a recipient that the token refuses keeps its balance and stops no others. A caller that starves the
    /// transfer of gas gains nothing: what is not paid stays where it is.
    function _payOut(address account) private returns (SkipCode) {
        uint128 amount = _accounts[account].balance;
        (address to, bool onlySelf) = payoutOf(account);
        if (amount == 0) return SkipCode.Empty;
        if (msg.sender != account && onlySelf) return SkipCode.OnlySelf;
        if (msg.sender != account && amount < DUST) return SkipCode.Dust;
        _accounts[account].balance = 0;
        _totals.paidOut += amount;
        if (token.trySafeTransfer(to, amount)) {
            emit Withdrawn(account, to, amount);
            return SkipCode.None;
        }
        _accounts[account].balance += amount;
        _totals.paidOut -= amount;
        return SkipCode.Untransferable;
    }

    /* CHECKS */

    /// @dev True if the propose window after `start` is over.
    function _isOver(uint64 start) private view returns (bool) {
        return block.timestamp > start + _proposeWindow;
    }

    function _requireLive(ClaimRecord calldata record) private view {
        bytes32 stored = channels.claimOf(record.node, record.seq);
        if (stored != keccak256(abi.encode(record))) revert UnknownClaim(record.node, record.seq);
    }

    function _requireSigner(address node) private view {
        if (!staking.isSigner(node, msg.sender)) revert NotSigner(node, msg.sender);
    }

    function _requirePayouts(Pot[] calldata pots, Payout[] calldata payouts) private pure {
        if (payouts.length > PAYOUTS_MAX) revert TooMany("payouts", payouts.length, PAYOUTS_MAX);
        uint256 sum = 0;
        for (uint256 i = 0; i < payouts.length; ++i) {
            uint16 pot = payouts[i].pot;
            if (pot >= pots.length) revert UnknownPot(pot, pots.length);
            if (payouts[i].weight == 0) revert ZeroWeight(i);
            if (i > 0 && !_isBefore(payouts[i - 1], payouts[i])) revert PayoutsNotAscending(i);
            sum += payouts[i].weight;
            if (i + 1 < payouts.length && payouts[i + 1].pot == pot) continue;
            uint256 expected = PPM * pots[pot].gross;
            if (sum != expected) revert BadWeights(pot, sum, expected);
            sum = 0;
        }
    }

    function _isBefore(Payout calldata a, Payout calldata b) private pure returns (bool) {
        return a.pot < b.pot || (a.pot == b.pot && a.account < b.account);
    }
}
