// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IAttributionRewards} from "./interfaces/IAttributionRewards.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {IParams, Windows} from "./interfaces/IParams.sol";
import {IPaymentChannels} from "./interfaces/IPaymentChannels.sol";
import {ClaimFor, ClaimRecord, Payout, Pot, PPM} from "./interfaces/Types.sol";
import {Hashes} from "./lib/Hashes.sol";

/// @dev See {IAttributionRewards}.
contract AttributionRewards is IAttributionRewards, EIP712 {
    using SafeERC20 for IERC20;

    uint256 private constant PAYOUTS_MAX = 256;
    uint256 private constant CLAIMS_FOR_MAX = 256;
    uint256 private constant LATE_PPM = 100_000;

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

    Totals private _totals;
    /// @inheritdoc IAttributionRewards
    mapping(address account => uint128) public balanceOf;
    /// @inheritdoc IAttributionRewards
    mapping(address account => uint256) public nonceOf;
    mapping(address node => mapping(uint64 seq => Proposal)) private _proposals;

    constructor(
        IERC20 token_,
        IParams params_,
        IPaymentChannels channels_,
        INodeStaking staking_,
        IDatanetRegistry datanets_,
        address protocolTreasury_
    ) EIP712("OpenLedgerRewards", "1") {
        if (protocolTreasury_ == address(0)) revert ZeroAddress();
        token = token_;
        params = params_;
        channels = channels_;
        staking = staking_;
        datanets = datanets_;
        protocolTreasury = protocolTreasury_;
    }

    /// @inheritdoc IAttributionRewards
    function propose(
        ClaimRecord calldata record,
        bytes32 attributionRoot,
        uint32 leafCount,
        Payout[] calldata payouts,
        bytes calldata nodeSignature
    ) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        Windows memory windows = params.windows();
        bytes32 payoutsHash = keccak256(abi.encode(payouts));
        uint64 readyAt = uint64(block.timestamp) + windows.window;
        _requireLive(record);
        if (proposal.state != State.None) revert AlreadyProposed(record.node, record.seq);
        if (block.timestamp > record.claimedAt + windows.propose) revert ProposeOver(record.claimedAt + windows.propose);
        _requireNode(record.node, record.seq, attributionRoot, leafCount, payoutsHash, nodeSignature);
        _requireLeaves(attributionRoot, leafCount, payouts.length);
        _requirePayouts(record.pots, payouts);
        _proposals[record.node][record.seq] = Proposal({
            attributionRoot: attributionRoot,
            payoutsHash: payoutsHash,
            leafCount: leafCount,
            readyAt: readyAt,
            state: State.Proposed
        });
        emit Proposed(record.node, record.seq, attributionRoot, leafCount, payouts, readyAt);
    }

    /// @inheritdoc IAttributionRewards
    function finalize(ClaimRecord calldata record, Payout[] calldata payouts) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        bytes32 payoutsHash = keccak256(abi.encode(payouts));
        _requireLive(record);
        if (proposal.state != State.Proposed) revert NotProposed(record.node, record.seq, proposal.state);
        if (block.timestamp < proposal.readyAt) revert NotReady(proposal.readyAt);
        if (payoutsHash != proposal.payoutsHash) revert PayoutsMismatch(proposal.payoutsHash, payoutsHash);
        proposal.state = State.Finalized;
        uint128 unlisted = _creditPots(record, payouts);
        _settle(record, record.nodeShare, record.protocol + unlisted, false);
    }

    /// @inheritdoc IAttributionRewards
    function finalizeLate(ClaimRecord calldata record) external {
        Proposal storage proposal = _proposals[record.node][record.seq];
        uint64 deadline = record.claimedAt + params.windows().propose;
        _requireLive(record);
        if (proposal.state != State.None) revert AlreadyProposed(record.node, record.seq);
        if (block.timestamp <= deadline) revert ProposeNotOver(deadline);
        proposal.state = State.FinalizedLate;
        uint128 fee = uint128(uint256(record.nodeShare) * LATE_PPM / PPM);
        uint128 forfeit = fee;
        for (uint256 i = 0; i < record.pots.length; ++i) forfeit += record.pots[i].amount;
        _settle(record, record.nodeShare - fee, record.protocol + forfeit, true);
    }

    /// @inheritdoc IAttributionRewards
    function withdraw(address to, uint128 amount) external {
        uint128 balance = balanceOf[msg.sender];
        if (to == address(0)) revert ZeroAddress();
        if (amount > balance) revert InsufficientBalance(msg.sender, balance, amount);
        _pay(msg.sender, to, amount);
    }

    /// @inheritdoc IAttributionRewards
    function withdrawFor(ClaimFor[] calldata claims, bytes[] calldata signatures) external {
        if (claims.length > CLAIMS_FOR_MAX) revert TooMany("claims", claims.length, CLAIMS_FOR_MAX);
        if (claims.length != signatures.length) revert LengthMismatch(claims.length, signatures.length);
        for (uint256 i = 0; i < claims.length; ++i) {
            ClaimFor calldata claim = claims[i];
            SkipCode code = _faultOf(claim, signatures[i]);
            if (code == SkipCode.None) {
                nonceOf[claim.account] = claim.nonce + 1;
                if (!_tryPay(claim.account, claim.to, claim.amount)) code = SkipCode.Untransferable;
            }
            if (code != SkipCode.None) emit WithdrawSkipped(claim.account, claim.nonce, code);
        }
    }

    /// @inheritdoc IAttributionRewards
    function proposalOf(address node, uint64 seq)
        external
        view
        returns (bytes32 attributionRoot, uint32 leafCount, bytes32 payoutsHash, uint64 readyAt, State state)
    {
        Proposal storage proposal = _proposals[node][seq];
        return (
            proposal.attributionRoot,
            proposal.leafCount,
            proposal.payoutsHash,
            proposal.readyAt,
            proposal.state
        );
    }

    /// @inheritdoc IAttributionRewards
    function totals() external view returns (Totals memory) {
        return _totals;
    }

    /// @dev Credit the listed pots. Returns the sum of the pots that are not listed.
    function _creditPots(ClaimRecord calldata record, Payout[] calldata payouts) private returns (uint128 unlisted) {
        uint256 next = 0;
        for (uint256 i = 0; i < record.pots.length; ++i) {
            Pot calldata pot = record.pots[i];
            uint256 first = next;
            uint128 rest = pot.amount;
            for (; next < payouts.length && payouts[next].pot == i; ++next) {
                rest -= _creditPayout(record, pot, payouts[next]);
            }
            if (next == first) {
                unlisted += rest;
            } else {
                (, address treasury,,) = datanets.datanetOf(pot.datanetId);
                _credit(record, treasury, rest, TREASURY);
            }
        }
    }

    /// @dev Account 0 gets nothing here, so its amount stays in the pot's rest and goes to the Datanet's treasury.
    function _creditPayout(ClaimRecord calldata record, Pot calldata pot, Payout calldata payout)
        private
        returns (uint128 amount)
    {
        if (payout.account == address(0)) return 0;
        amount = uint128(Math.mulDiv(pot.amount, payout.weight, PPM * pot.gross));
        _credit(record, payout.account, amount, CONTRIBUTOR);
    }

    /// @dev Credit everybody except the contributors. Tokens move last: the claim's gross comes in, the stakers' share
    /// goes out.
    function _settle(ClaimRecord calldata record, uint128 nodeShare, uint128 protocol, bool late) private {
        uint128 stakers = record.stakers;
        // Without stake there is nobody to share the stakers' part, so the protocol gets it.
        if (staking.totalBonded() == 0) (protocol, stakers) = (protocol + stakers, 0);
        _credit(record, staking.payoutOf(record.node), nodeShare, NODE);
        for (uint256 i = 0; i < record.credits.length; ++i) {
            _credit(record, record.credits[i].account, record.credits[i].amount, OWNER);
        }
        _credit(record, protocolTreasury, protocol, PROTOCOL);
        _totals.released += record.gross;
        _totals.credited += record.gross - stakers;
        _totals.notified += stakers;
        emit Finalized(record.node, record.seq, late);
        channels.release(record);
        if (stakers > 0) _notify(stakers);
    }

    function _notify(uint128 stakers) private {
        emit StakersNotified(stakers);
        token.safeTransfer(address(staking), stakers);
        staking.notify(stakers);
    }

    function _credit(ClaimRecord calldata record, address account, uint128 amount, uint8 role) private {
        if (amount == 0) return;
        balanceOf[account] += amount;
        emit Credited(account, record.node, record.seq, amount, role);
    }

    function _pay(address account, address to, uint128 amount) private {
        balanceOf[account] -= amount;
        _totals.paidOut += amount;
        emit Withdrawn(account, to, amount);
        token.safeTransfer(to, amount);
    }

    /// @dev Like {_pay}, but a transfer that fails changes no balance, so that one recipient that the token refuses
    /// stops no others.
    function _tryPay(address account, address to, uint128 amount) private returns (bool) {
        balanceOf[account] -= amount;
        _totals.paidOut += amount;
        if (token.trySafeTransfer(to, amount)) {
            emit Withdrawn(account, to, amount);
            return true;
        }
        balanceOf[account] += amount;
        _totals.paidOut -= amount;
        return false;
    }

    /// @dev The first reason to skip a signed withdrawal, without trying the transfer.
    function _faultOf(ClaimFor calldata claim, bytes calldata signature) private view returns (SkipCode) {
        if (block.timestamp > claim.deadline) return SkipCode.PastDeadline;
        if (claim.nonce != nonceOf[claim.account]) return SkipCode.OtherNonce;
        if (claim.amount > balanceOf[claim.account]) return SkipCode.OverBalance;
        if (claim.to == address(0)) return SkipCode.NoRecipient;
        (address signer,,) = ECDSA.tryRecoverCalldata(_hashTypedDataV4(Hashes.ofClaimFor(claim)), signature);
        return signer != address(0) && signer == claim.account ? SkipCode.None : SkipCode.BadSignature;
    }

    function _requireLive(ClaimRecord calldata record) private view {
        bytes32 stored = channels.claimOf(record.node, record.seq);
        if (stored != keccak256(abi.encode(record))) revert UnknownClaim(record.node, record.seq);
    }

    function _requireNode(
        address node,
        uint64 seq,
        bytes32 attributionRoot,
        uint32 leafCount,
        bytes32 payoutsHash,
        bytes calldata signature
    ) private view {
        if (staking.isSigner(node, msg.sender)) return;
        bytes32 structHash = Hashes.ofProposal(node, seq, attributionRoot, leafCount, payoutsHash);
        (address signer,,) = ECDSA.tryRecoverCalldata(_hashTypedDataV4(structHash), signature);
        if (signer == address(0) || !staking.isSigner(node, signer)) revert NotSigner(node, signer);
    }

    /// @dev Every payout sums at least one leaf, and without payouts there is no tree.
    function _requireLeaves(bytes32 attributionRoot, uint32 leafCount, uint256 numPayouts) private pure {
        bool empty = numPayouts == 0;
        if (leafCount < numPayouts || (leafCount == 0) != empty || (attributionRoot == 0) != empty) {
            revert BadLeaves(attributionRoot, leafCount, numPayouts);
        }
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
